# SPDX-License-Identifier: BSD-2-Clause
"""A pika client, as somebody who knows nothing of waybill would write it.

client.py bind QUEUE EXCHANGE KEY   make a queue and bind it
client.py send EXCHANGE             three messages, one of each kind
client.py receive QUEUE COUNT       print so many, a line each, acknowledged
"""
import json
import os
import sys

import pika

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SEEN = ("gotid", "gotsource", "gottype", "gotsubject", "gotcolor",
        "partitionkey")


def bind(channel, queue, exchange, key):
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, exchange, key)


def send(channel, exchange):
    def publish(body, **properties):
        channel.basic_publish(
            exchange, "interop.said", body,
            pika.BasicProperties(delivery_mode=2, **properties),
            mandatory=True)

    channel.confirm_delivery()
    # binary mode, with a number where others have text
    publish(b'{"n": 1}', content_type="application/json", headers={
        "ce-specversion": "1.0", "ce-id": "p1", "ce-source": "/pika",
        "ce-type": "interop.said", "ce-subject": "greeting/1",
        "ce-partitionkey": "ada", "ce-color": 7, "traceparent": TRACE})
    # no CloudEvent at all
    publish("grüß dich".encode(), content_type="text/plain",
            message_id="p2", type="interop.said", app_id="pika",
            headers={"traceparent": TRACE})
    # structured mode
    publish(json.dumps({
        "specversion": "1.0", "id": "p3", "source": "/pika",
        "type": "interop.said", "datacontenttype": "application/json",
        "subject": "greeting/3", "partitionkey": "ada", "color": "red",
        "traceparent": TRACE, "data": [3]}).encode(),
        content_type="application/cloudevents+json")


def receive(channel, queue, count):
    for method, properties, body in channel.consume(
            queue, inactivity_timeout=20):
        if method is None:
            sys.exit("no message within 20 s")
        headers = properties.headers
        words = [headers.get("ce-" + name, "") for name in SEEN]
        words += [headers.get("traceparent", ""), properties.content_type,
                  body.decode()]
        same = (properties.message_id == headers["ce-id"]
                and properties.type == headers["ce-type"]
                == method.routing_key == "interop.echoed"
                and properties.delivery_mode == 2)
        print("|".join(words) if same else "properties differ: %s %s" %
              (method, properties))
        channel.basic_ack(method.delivery_tag)
        count -= 1
        if count == 0:
            break
    channel.cancel()


def main(command, *words):
    connection = pika.BlockingConnection(
        pika.URLParameters(os.environ["WAYBILL_AMQP"]))
    channel = connection.channel()
    if command == "bind":
        bind(channel, *words)
    elif command == "send":
        send(channel, *words)
    else:
        receive(channel, words[0], int(words[1]))
    connection.close()


main(*sys.argv[1:])
