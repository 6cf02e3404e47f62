"""The headers of a request and of its reply on the log: one spelling for those who ask and for inference, which answers.

`REPLY_PARTITION`: the partition of `inference.replies` that the asker listens on. `REPLY_ID`: what the reply is found by.
`VERSION`: a preview, answered by this version whatever the route says. `TENANT`: who asks, where the route has exceptions for tenants.
"""

REPLY_PARTITION, REPLY_ID = "headrace_reply_partition", "headrace_reply_id"
VERSION, TENANT = "headrace_version", "headrace_tenant"
