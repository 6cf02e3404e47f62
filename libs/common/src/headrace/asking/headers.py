"""The headers of a request and of its reply on the log, for those who ask and for inference.

- `REPLY_PARTITION`: the partition of `inference.replies` that the asker reads.
- `REPLY_ID`: the id by which the asker finds its reply.
- `VERSION`: for a preview, the version that must answer, whatever the route says.
- `TENANT`: the asking tenant, for routes with overrides of tenants.
"""

REPLY_PARTITION, REPLY_ID = "headrace_reply_partition", "headrace_reply_id"
VERSION, TENANT = "headrace_version", "headrace_tenant"
