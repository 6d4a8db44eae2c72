"""Drives Paho for Python (1.6): commands as JSON lines on standard input, events as JSON lines on standard output.

Each command has `call` (answered by an event with the same `call`, and `error` or `value`) and `client`, a name that the test gives.
"""
import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
KEPT_SECONDS = 600
lock = threading.Lock()
clients = {}


def emit(event):
    with lock:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def properties_of(values):
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        if name == "UserProperty":
            for pair in value:
                properties.UserProperty = tuple(pair)
        else:
            setattr(properties, name, value.encode() if name == "CorrelationData" else value)
    return properties


def values_of(properties):
    values = dict(vars(properties)) if properties is not None else {}
    names = ("ContentType", "CorrelationData", "MessageExpiryInterval", "ResponseTopic", "UserProperty")
    found = {name: values[name] for name in names if name in values}
    if "CorrelationData" in found:
        found["CorrelationData"] = found["CorrelationData"].decode()
    return found


class Driver:
    def __init__(self, command):
        self.name = command["client"]
        self.version = command["version"]
        self.calls = {}
        self.early = {}
        self.guard = threading.Lock()
        clean = command["clean"]
        kind = {} if self.version == "5" else {"clean_session": clean}
        transport = "websockets" if command["transport"] == "ws" else "tcp"
        self.client = mqtt.Client(command["id"], protocol=VERSIONS[self.version], transport=transport, **kind)
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        will = command.get("will")
        if will is not None:
            self.client.will_set(will["topic"], will["payload"], will.get("qos", 0), will.get("retain", False))
        self.client.on_connect = lambda _c, _u, flags, code, *_: self.connected(command["call"], flags, code)
        self.client.on_message = self.message
        self.client.on_publish = lambda _c, _u, mid: self.done(mid, None)
        self.client.on_unsubscribe = lambda _c, _u, mid, *_: self.done(mid, None)
        self.client.on_subscribe = self.subscribed
        more = {}
        if self.version == "5":
            session = Properties(PacketTypes.CONNECT)
            session.SessionExpiryInterval = 0 if clean else KEPT_SECONDS
            more = {"clean_start": clean, "properties": session}
        self.client.connect("127.0.0.1", command["port"], 60, **more)
        self.client.loop_start()

    def connected(self, call, flags, code):
        number = code if isinstance(code, int) else code.value
        if number == 0:
            emit({"call": call, "value": flags["session present"]})
        else:
            emit({"call": call, "error": "CONNACK %d" % number})

    def message(self, _client, _user, message):
        properties = values_of(getattr(message, "properties", None))
        emit({"client": self.name, "topic": message.topic, "payload": message.payload.decode(), "qos": message.qos,
              "retain": bool(message.retain), "properties": properties})

    def subscribed(self, _client, _user, mid, codes, *_):
        self.done(mid, [code if isinstance(code, int) else code.value for code in codes])

    def done(self, mid, value):
        """The ack can be faster than the call that returns its id."""
        with self.guard:
            call = self.calls.pop(mid, None)
            if call is None:
                self.early[mid] = value
        if call is not None:
            emit({"call": call, "value": value})

    def expect(self, mid, call):
        with self.guard:
            if mid not in self.early:
                self.calls[mid] = call
                return
            value = self.early.pop(mid)
        emit({"call": call, "value": value})

    def run(self, command):
        operation, call = command["do"], command["call"]
        if operation == "subscribe":
            self.expect(self.client.subscribe(command["filter"], command["qos"])[1], call)
        elif operation == "unsubscribe":
            self.expect(self.client.unsubscribe(command["filter"])[1], call)
        elif operation == "publish":
            more = {"properties": properties_of(command["properties"])} if self.version == "5" else {}
            info = self.client.publish(command["topic"], command["payload"], command["qos"], command["retain"], **more)
            self.expect(info.mid, call)
        elif operation == "end":
            self.client.disconnect()
            self.client.loop_stop()
            emit({"call": call, "value": None})


for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["do"] == "connect":
            clients[request["client"]] = Driver(request)
        else:
            clients[request["client"]].run(request)
    except Exception as error:  # the test has to hear of it, whatever it is
        emit({"call": request["call"], "error": repr(error)})
