"""Runs Autobahn's cases (https://github.com/crossbario/autobahn-testsuite) by kosoku against an echo server.

usage: rfc6455.py URL      prints the cases that failed, then a line that counts; 1 unless all passed
"""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient

# Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, sizes up to 16 MiB, auto-fragmentation.
# Not 12 and 13, on permessage-deflate: gateway/tests/gateway/compression.rs has their sizes, fragments and offers.
GROUPS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
CASES = 301


async def run(url):
    try:
        return await run_fuzzingclient(url, cases=GROUPS, concurrency=2)
    except FailureError as failure:
        return failure.results


def main():
    results = asyncio.run(run(sys.argv[1]))
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"FAIL  case {result.case_id}: {' '.join(result.description.split())}")
        print(f"      {result.behavior.value}: {result.result}")
        print(f"      {result.behavior_close.value}: {result.result_close}")
    print(f"conformance: {len(results) - len(failed)} passed, {len(failed)} failed")
    if len(results) != CASES:
        print(f"{len(results)} cases ran, not {CASES}", file=sys.stderr)
        return 1
    return 1 if failed else 0


status = main()
sys.stdout.flush()
# Kosoku's threads may still run, and one that meets an interpreter that is ending aborts the process.
os._exit(status)
