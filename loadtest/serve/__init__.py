"""The parts of ``make bench-serve``.

bodies      what is sent, byte for byte, and what must come back
closed_loop one caller waits for its answer before it asks again (h2load)
open_loop   requests leave on a schedule, whatever comes back
processes   CPU time and memory of a server with all its children
contenders  the servers: ours, Triton alone, and the peers of loadtest/peers
behaviour   start-up, memory, and what one caller does to the others
report      goals and figures: table, Markdown, JSON, picture
"""
