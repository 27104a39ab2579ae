"""What a round leaves in the records is what is read back from them."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from fedsieve.contract import COUNTS, FRACTIONS, STATE_LOST, Reply
from fedsieve.errors import make_printable
from fedsieve.runs.latest import LatestMetrics
from fedsieve.runs.records import CLIENT_COLUMNS, client_lines, read_client_lines, round_line, rounds_of
from fedsieve.runs.rounds import Round

fractions = st.floats(0, 1)
metrics = st.fixed_dictionaries(
    {name: fractions for name in FRACTIONS if name not in {"mask-sparsity", STATE_LOST}}
    | {name: st.integers(0, 10**12).map(float) for name in COUNTS}
    | {"train-loss": st.floats(-1e12, 1e12, allow_subnormal=True)},
    optional={"mask-sparsity": fractions, STATE_LOST: st.just(1.0)},
)
sizes = st.integers(0, 2**40)


@st.composite
def histories(draw: st.DrawFn) -> list[Round]:
    """Return rounds as the loop makes them: clients sorted, means over what each reported last."""
    rounds, latest = [], LatestMetrics()
    for number in range(1, draw(st.integers(1, 4)) + 1):
        clients = sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=4)))
        replies, rejected = [], {}
        for client in clients:
            if draw(st.booleans()):
                replies.append(Reply(client, {}, draw(metrics), draw(sizes), draw(sizes)))
            else:
                rejected[client] = make_printable(draw(st.text(max_size=20)))
        latest.update(replies)
        asked = [client for client in clients if client not in rejected or draw(st.booleans())]
        rounds.append(
            Round(
                number=number,
                participants=tuple(clients),
                replies=tuple(replies),
                rejected=rejected,
                downlink_bytes={client: draw(sizes) for client in asked},
                downlink_payload_bytes={client: draw(sizes) for client in asked},
                for_metric_only=False,
                means=latest.means(),
                seconds=draw(st.floats(0, 1e6)),
            )
        )
    return rounds


@given(histories())
def test_rounds_come_back_from_their_lines_as_they_were(rounds: list[Round]):
    lines = [",".join(CLIENT_COLUMNS), *(line for round_ in rounds for line in client_lines(round_))]
    rows = read_client_lines(f"{line}\n" for line in lines)
    assert list(rounds_of(rows, {round_.number: round_.seconds for round_ in rounds})) == rounds


@given(histories())
def test_a_rounds_line_is_json_that_another_program_can_read(rounds: list[Round]):
    for round_ in rounds:
        line = json.loads(json.dumps(round_line(round_), allow_nan=False))
        assert line["participants"] == list(round_.participants)
        assert line["train_loss"] is None or math.isfinite(line["train_loss"])
