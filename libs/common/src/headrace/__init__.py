"""The contract, the bus, the features and the project SDK that all Headrace services share."""
