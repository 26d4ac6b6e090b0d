"""An MSK cluster for who has none (mTLS alone, nobody without a certificate), and the topic where it is asked for."""

from __future__ import annotations

import base64

from aws_cdk import aws_msk as msk
from constructs import Construct

from infra.parts import KEPT, customer_key
from infra.settings import Settings

_REPLICATION = 3
_MIN_IN_SYNC = 2

# Of what is set below, Express brokers take this one; the others are theirs and read-only:
# https://docs.aws.amazon.com/msk/latest/developerguide/msk-configuration-express-read-only.html
_EXPRESS_PROPERTIES = "auto.create.topics.enable=false\n"
# Properties of the brokers, which hold for topics that set none of their own.
_SERVER_PROPERTIES = """\
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
log.retention.hours={hours}
"""


def make_cluster(scope: Construct, *, settings: Settings) -> msk.CfnCluster:
    """Three brokers in the given subnets, by default; clients sign in with certificates of the Private CA."""
    kafka, names = settings.kafka, settings.names
    key = customer_key(scope, "KafkaKey", alias=f"{names.prefix}-kafka", about="The disks of lmdp's Kafka")
    configuration = msk.CfnConfiguration(
        scope,
        "KafkaConfiguration",
        name=names.cluster,
        server_properties=_EXPRESS_PROPERTIES
        if kafka.express
        else _SERVER_PROPERTIES.format(hours=kafka.retention_hours),
    )
    cluster = msk.CfnCluster(
        scope,
        "Kafka",
        cluster_name=names.cluster,
        kafka_version=kafka.version,
        number_of_broker_nodes=kafka.brokers,
        broker_node_group_info=msk.CfnCluster.BrokerNodeGroupInfoProperty(
            client_subnets=list(kafka.subnet_ids),
            instance_type=kafka.instance_type,
            security_groups=[kafka.security_group],
            storage_info=None
            if kafka.express
            else msk.CfnCluster.StorageInfoProperty(
                ebs_storage_info=msk.CfnCluster.EBSStorageInfoProperty(volume_size=kafka.storage_gib)
            ),
        ),
        client_authentication=msk.CfnCluster.ClientAuthenticationProperty(
            tls=msk.CfnCluster.TlsProperty(enabled=True, certificate_authority_arn_list=[kafka.ca_arn or ""]),
            unauthenticated=msk.CfnCluster.UnauthenticatedProperty(enabled=False),
        ),
        encryption_info=msk.CfnCluster.EncryptionInfoProperty(
            encryption_at_rest=msk.CfnCluster.EncryptionAtRestProperty(data_volume_kms_key_id=key.key_arn),
            encryption_in_transit=msk.CfnCluster.EncryptionInTransitProperty(client_broker="TLS", in_cluster=True),
        ),
        configuration_info=msk.CfnCluster.ConfigurationInfoProperty(
            arn=configuration.attr_arn, revision=configuration.attr_latest_revision_revision
        ),
        enhanced_monitoring="PER_BROKER",
        logging_info=msk.CfnCluster.LoggingInfoProperty(
            broker_logs=msk.CfnCluster.BrokerLogsProperty(
                cloud_watch_logs=msk.CfnCluster.CloudWatchLogsProperty(enabled=True, log_group=names.log_group("kafka"))
            )
        ),
    )
    # Its topics hold what is not delivered yet; MSK deletes no configuration that a cluster uses.
    for one in (cluster, configuration):
        one.apply_removal_policy(KEPT)
    return cluster


def make_topic(scope: Construct, *, settings: Settings, cluster_arn: str) -> msk.CfnTopic:
    """The topic, for who lets CloudFormation make it."""
    kafka = settings.kafka
    configuration = (
        f"retention.ms={kafka.retention_hours * 3_600_000}\n"
        f"min.insync.replicas={_MIN_IN_SYNC}\n"
        f"max.message.bytes={kafka.max_message_bytes}\n"
        "cleanup.policy=delete\n"
    )
    topic = msk.CfnTopic(
        scope,
        "Topic",
        cluster_arn=cluster_arn,
        topic_name=kafka.topic,
        partition_count=kafka.partitions,
        replication_factor=_REPLICATION,
        configs=base64.b64encode(configuration.encode()).decode(),
    )
    topic.apply_removal_policy(KEPT)
    return topic
