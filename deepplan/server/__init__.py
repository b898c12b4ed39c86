"""The front of `deepplan serve`: the Open Inference Protocol v2 over HTTP and gRPC, in front of an `Engine`."""
