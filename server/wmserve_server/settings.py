"""Every setting of the gateway: an environment variable ``WMSERVE_<NAME>`` with a documented default."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment; a value that does not fit is refused at start, by name."""

    model_config = SettingsConfigDict(env_prefix="WMSERVE_", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 to be reached from other machines.")
    http_port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0 takes a free one.")
    grpc_port: int = Field(8081, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    triton_address: str | None = Field(
        None,
        description="host:port of a Triton's gRPC endpoint, or dns:///host:port or ipv4:host:port,host:port of several "
        "that serve the same; left out, wmserve runs its own on loopback.",
    )
    triton_servers: PositiveInt = Field(
        1, description="Tritons behind that address: so many times as many batches are on their way at once."
    )
    model_repository: Path = Field(Path("model_repository"), description="Folder that its own Triton serves.")
    triton_home: Path | None = Field(
        None, description="Where the nvidia-pytriton wheel is unpacked; default: .triton here, else the environment."
    )
    triton_threads: PositiveInt = Field(2, description="Threads an engine may use.")
    triton_ready_timeout_s: PositiveFloat = Field(
        60.0, description="Longest wait for its own Triton to be ready; engines of gigabytes take longer without a GPU."
    )
    engine_timeout_s: PositiveFloat = Field(
        30.0,
        description="Longest that an engine may take for a call: an encode, a rollout, a slice of a plan, which is at "
        "least one iteration. Models of hundreds of millions of parameters take minutes without a GPU.",
    )
    allowed_origins: str = Field(
        "",
        description="Origins, such as https://robots.example:8080, separated by commas: their pages may ask over HTTP "
        "(CORS), and besides loopback they are the addresses at which /mcp may be asked.",
    )
    max_body_bytes: PositiveInt = Field(64 << 20, description="Largest request, bytes, on both wires.")
    max_in_flight: PositiveInt = Field(
        256, description="Requests answered at once, a plan counting for several by its size; more are shed with 429."
    )
    state_url: SecretStr | None = Field(
        None,
        description="redis://host:port/0, or rediss:// for TLS, of a Redis or Valkey that keeps handles, sessions and "
        "idempotency keys for several gateways; left out, each keeps its own.",
    )
    latents_capacity_bytes: PositiveInt = Field(
        256 << 20, description="Memory for latents behind handles, where it keeps its own."
    )
    latents_lifetime_s: PositiveFloat = Field(600.0, description="Seconds a handle lives after its last use.")
    default_timeout_s: PositiveFloat = Field(
        10.0, description="Time limit of encode and rollout that name none; a plan has its deadline_ms."
    )
    drain_delay_s: NonNegativeFloat = Field(
        0.0,
        description="On shutdown, seconds in which it says that it is not ready and answers as before, so that whoever "
        "sends requests here can learn of it.",
    )
    drain_timeout_s: PositiveFloat = Field(10.0, description="After that, longest wait for requests in flight.")
    log_level: str = Field("INFO", description="Level of the log on standard error.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of text, or of JSON with the ids of request, trace and decision."
    )
    log_requests: bool = Field(False, description="Whether each request has a line in the log.")

    @property
    def origins(self) -> tuple[str, ...]:
        """The addresses in `allowed_origins`."""
        return tuple(origin.strip().rstrip("/") for origin in self.allowed_origins.split(",") if origin.strip())


def describe() -> str:
    """A line for each setting: variable, default, meaning."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f" (default {field.default})"
        lines.append(f"  WMSERVE_{name.upper()}{default}\n      {field.description}")
    return "\n".join(lines)
