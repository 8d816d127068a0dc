"""What a connection can do: throughput, loss, jitter, and latency under load (docs/bench.md, docs/protocols/bench.md).

Two sides: `serving.Bench` waits, `measurement.Measurement` asks and reports. What they say to each other is `protocol`;
what each counts, and when it sends, is in modules without I/O.
"""
