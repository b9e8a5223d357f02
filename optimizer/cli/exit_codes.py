"""What a command's exit code says."""

FAILED, WRONG_INPUT, UNMET, INTERRUPTED = 1, 2, 3, 130

EXIT_CODES = (
    f"Exit codes: 0 done; {FAILED} the run, or a row of it, failed; {WRONG_INPUT} the input is "
    f"wrong; {UNMET} what was found, and saved, does not meet the limits on cost or latency; "
    f"{INTERRUPTED} after ctrl-C."
)
