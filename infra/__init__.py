"""The cloud side as AWS CDK stacks; the only place that imports aws_cdk."""
