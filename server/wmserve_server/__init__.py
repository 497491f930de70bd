"""The gateway: one core behind two thin edges, HTTP and gRPC, in front of Triton."""
