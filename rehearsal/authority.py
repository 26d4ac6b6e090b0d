"""An active Private CA, for the rehearsal and for tests."""

from __future__ import annotations

from typing import Any


def active_authority(pca: Any, name: str) -> str:
    """Create a root CA with this common name through a client of `acm-pca`, and activate it. Returns its ARN."""
    made = pca.create_certificate_authority(
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "RSA_2048",
            "SigningAlgorithm": "SHA256WITHRSA",
            "Subject": {"CommonName": name},
        },
        CertificateAuthorityType="ROOT",
    )
    arn = str(made["CertificateAuthorityArn"])
    root = pca.issue_certificate(
        CertificateAuthorityArn=arn,
        Csr=pca.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"].encode(),
        SigningAlgorithm="SHA256WITHRSA",
        TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
        Validity={"Value": 10, "Type": "YEARS"},
    )["CertificateArn"]
    signed = pca.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)["Certificate"]
    pca.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=signed.encode())
    return arn
