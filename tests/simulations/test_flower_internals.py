from flwr.app import Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID, take_identity


def test_flowers_two_symbols_are_there_and_let_messages_be_made():
    run = take_identity(7)
    assert isinstance(run, Run)
    assert run.run_id == 7
    assert (TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id) == (7, 7, SUPERLINK_NODE_ID)
    message = Message(RecordDict(), 2, "train")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (7, 1)


def test_the_servers_node_id_is_flowers():
    from flwr.common.constant import SUPERLINK_NODE_ID as FLOWERS

    assert SUPERLINK_NODE_ID == FLOWERS


def test_a_message_id_can_be_set():
    take_identity(7)
    message = Message(RecordDict(), 2, "train")
    message.metadata.__dict__["_message_id"] = "12"
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == "12"
