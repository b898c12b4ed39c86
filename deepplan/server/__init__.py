"""The front of `deepplan serve`: the Open Inference Protocol v2 over HTTP and gRPC, in front of an `Engine`.

In the event loop that the engine lives in, until SIGTERM or SIGINT:

    await Server(engine, ServerSettings(http_port=8000, grpc_port=8001)).run_until_signal()

(`deepplan.server.server`, `deepplan.server.settings`; `deepplan.server.log_lines.write_log` writes the log.)
"""
