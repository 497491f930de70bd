"""The contract that client, server and exporter share: messages, array codec and the description of a world."""
