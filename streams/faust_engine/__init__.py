"""The second engine: stateless processors, at least once, in a Faust app.

It shares everything that is pure with the native one: decode, process, encode and the answers to failures are
`task.step`. What is Faust's are the clients: its consumer, its streams, its producer.
"""
