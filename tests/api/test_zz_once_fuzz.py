import pytest
from tests.api.test_fuzz import fuzzed
@pytest.mark.timeout(1200)
def test_now(committed, tmp_path):
    outcome = fuzzed(tmp_path, "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "40", "--workers", "3", "--seed", "7", seconds=800)
    print("CASES", outcome.cases)
