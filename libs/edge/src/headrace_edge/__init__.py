"""The rules of an HTTP edge that services share.

`rules` decides, free of I/O: who calls and how often, what is too large, what an error looks like, who a person is. The modules
beside it touch the outside: a connection, the server, the call around an app, the file of keys.
"""
