"""The settings of the services that run in containers: the receiver, and the direct writer to Snowflake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from lmdp.support.settings_reader import Reader

SERVICES: Final = ("receive", "write")
CONTAINER_SECRETS: Final = {
    "kafka-receive": ("KafkaReceive", "The receiver's certificate for Kafka: certificate (chain), privateKey"),
    "receive-tokens": ("ReceiveTokens", "The file of 'lmdp receive token': hashes of the senders' tokens"),
    "kafka-write": ("KafkaWrite", "The direct writer's certificate for Kafka: certificate (chain), privateKey"),
}
"""The secrets of the services in containers: their ids, and what is in them.

All are there with any service: a secret that left its stack would keep its name, and could not be made again.
"""
CONTAINER_SECRETS_PARAMETER: Final = "container-secrets"
"""The parameter that is there while a stack has these secrets."""
# A tag may move; a digest is what was reviewed. ECR alone, so that a role of ours is all that pulls it.
_IMAGE: Final = r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z0-9][a-z0-9._/-]{1,255}@sha256:[0-9a-f]{64}"
_SERVERS: Final = r"[A-Za-z0-9.-]{1,253}:\d{1,5}"
# https://docs.aws.amazon.com/eventbridge/latest/pipes-reference/API_PipeSourceManagedStreamingKafkaParameters.html
TOPIC: Final = (r"(?!\.)[a-zA-Z0-9._-]{1,249}", "a Kafka topic's name")
"""The shape of a topic's name, and what it is. Kafka would take a dot first; a pipe does not."""


@dataclass(frozen=True, slots=True)
class Containers:
    """The services, by name; none by default. `public_subnets` are the load balancer's, where it is public."""

    services: tuple[str, ...] = ()
    image: str = ""
    architecture: str = "ARM64"
    servers: tuple[str, ...] = ()
    receive_topic: str = ""
    write_topic: str = ""
    tasks: int = 2
    certificate_arn: str = ""
    cidrs: tuple[str, ...] = ()
    public_subnets: tuple[str, ...] = ()

    @property
    def topics(self) -> dict[str, str]:
        """The topic of each service: what the receiver writes, and what the writer reads."""
        of = {"receive": self.receive_topic, "write": self.write_topic}
        return {service: of[service] for service in self.services}

    @classmethod
    def read(cls, read: Reader, pipe_topic: str) -> Containers:
        """Read and check them; the faults are the reader's."""
        services = read.listed("LMDP_CONTAINERS", "|".join(SERVICES), f"some of {', '.join(SERVICES)}")
        if not services:
            return cls()
        receive_topic = read.text("LMDP_RECEIVE_TOPIC", *TOPIC, default=pipe_topic)
        made = cls(
            services,
            image=read.text("LMDP_CONTAINER_IMAGE", _IMAGE, "an image in ECR by its digest: …/lmdp@sha256:…"),
            architecture=read.text(
                "LMDP_CONTAINER_ARCHITECTURE",
                "ARM64|X86_64",
                "ARM64 or X86_64, as the image was built",
                default="ARM64",
            ),
            servers=read.listed("LMDP_BOOTSTRAP_SERVERS", _SERVERS, "the brokers' TLS addresses, host:9094", least=1),
            receive_topic=receive_topic,
            write_topic=read.text("LMDP_WRITE_TOPIC", *TOPIC, default=receive_topic),
        )
        if "write" in services and made.write_topic == pipe_topic:
            read.fault(
                f"LMDP_WRITE_TOPIC is {pipe_topic}, which the pipe reads: each row would be in the table twice. Name "
                "another topic there or as LMDP_RECEIVE_TOPIC"
            )
        return made if "receive" not in services else made._with_balancer(read)

    def _with_balancer(self, read: Reader) -> Containers:
        return replace(
            self,
            tasks=read.number("LMDP_RECEIVE_TASKS", 1, 50, default=2),
            certificate_arn=read.text(
                "LMDP_RECEIVE_CERTIFICATE_ARN", r"arn:aws:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]{36}",
                "the ARN of a certificate in ACM",
            ),
            cidrs=read.networks("LMDP_RECEIVE_CIDRS", "the senders' IPv4 ranges", least=1),
            public_subnets=read.listed(
                "LMDP_RECEIVE_PUBLIC_SUBNET_IDS", r"subnet-[0-9a-f]{8,17}", "public subnets, two or more"
            ),
        )  # fmt: skip
