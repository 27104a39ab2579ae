from tests.reports.conftest import runs  # noqa: F401 - what the reader reads is what reports show
