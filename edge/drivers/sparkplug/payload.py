"""Sparkplug B's messages as bytes: protobuf, decoded into `metrics`. Needs the extra `sparkplug`.

The message class is built here from the field numbers of the public specification, of the fields that meters need;
others are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, EncodeError

from edge.drivers.sparkplug.metrics import DataType, Metric, Payload

_UNIT = "engUnit"
_QUALITY = "Quality"
_PACKAGE = "afkobling.sparkplug"


class PayloadError(ValueError):
    """The bytes are no payload of Sparkplug B."""


def decode(data: bytes) -> Payload:
    """Raises PayloadError."""
    message = _payload_class()()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise PayloadError(f"no payload of Sparkplug B: {error}") from error
    return Payload(
        at_ms=_given(message, "timestamp"),
        seq=_given(message, "seq"),
        metrics=tuple(_metric(metric) for metric in message.metrics),
    )


def encode(payload: Payload) -> bytes:
    """The bytes. Raises PayloadError for what has no place in them."""
    message = _payload_class()()
    try:
        _put(message, timestamp=payload.at_ms, seq=payload.seq)
        for metric in payload.metrics:
            put = message.metrics.add()
            _put(
                put,
                name=metric.name,
                alias=metric.alias,
                timestamp=metric.at_ms,
                datatype=metric.datatype,
                is_historical=metric.is_historical or None,
                is_transient=metric.is_transient or None,
                is_null=metric.is_null or None,
            )
            if metric.value is not None:
                _put_value(put, metric)
            if metric.unit is not None:
                put.properties.keys.append(_UNIT)
                put.properties.values.add(type=DataType.STRING, string_value=metric.unit)
            if metric.quality is not None:
                put.properties.keys.append(_QUALITY)
                put.properties.values.add(type=DataType.INT32, int_value=metric.quality)
        return bytes(message.SerializeToString())
    except (TypeError, ValueError, EncodeError) as error:
        raise PayloadError(f"this has no place in a payload of Sparkplug B: {error}") from error


def _metric(message: Any) -> Metric:
    field = message.WhichOneof("value")
    name = _given(message, "name")
    value = None if field is None else getattr(message, field)
    properties = dict(zip(message.properties.keys, message.properties.values, strict=False))
    unit, quality = properties.get(_UNIT), properties.get(_QUALITY)
    return Metric(
        name=None if name is None else _text(name),
        alias=_given(message, "alias"),
        at_ms=_given(message, "timestamp"),
        datatype=_given(message, "datatype"),
        value=_text(value) if isinstance(value, bytes) else value,
        unit=None if unit is None else _text(unit.string_value) or None,
        quality=None if quality is None else _given(quality, "int_value"),
        is_historical=message.is_historical,
        is_transient=message.is_transient,
        is_null=message.is_null,
    )


def _text(said: str | bytes) -> str:
    """Nodes may send what is no UTF-8, which comes as bytes; the rest of the message is none the worse."""
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _given(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _put(message: Any, **fields: object) -> None:
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)


def _put_value(message: Any, metric: Metric) -> None:
    value = metric.value
    if isinstance(value, bool):
        message.boolean_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, int):
        if metric.datatype in {DataType.INT64, DataType.UINT64}:
            message.long_value = value & (2**64 - 1)
        else:
            message.int_value = value & (2**32 - 1)
    elif metric.datatype == DataType.FLOAT:
        message.float_value = value
    else:
        message.double_value = value


@cache
def _payload_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="afkobling/sparkplug.proto", package=_PACKAGE, syntax="proto2")

    def add(name: str, *fields: tuple[int, str, int | str], repeated: Sequence[str] = (), one_of: str = "") -> None:
        message = file.message_type.add(name=name)
        if one_of:
            message.oneof_decl.add(name="value")
        for number, key, kind in fields:
            added = message.field.add(name=key, number=number)
            added.label = field.LABEL_REPEATED if key in repeated else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = descriptor_pb2.FieldDescriptorProto.Type.ValueType(kind)
            if one_of and key.endswith(one_of):
                added.oneof_index = 0

    add(
        "PropertyValue",
        (1, "type", field.TYPE_UINT32),
        (2, "is_null", field.TYPE_BOOL),
        (3, "int_value", field.TYPE_UINT32),
        (8, "string_value", field.TYPE_STRING),
    )
    add(
        "PropertySet",
        (1, "keys", field.TYPE_STRING),
        (2, "values", "PropertyValue"),
        repeated=("keys", "values"),
    )
    add(
        "Metric",
        (1, "name", field.TYPE_STRING),
        (2, "alias", field.TYPE_UINT64),
        (3, "timestamp", field.TYPE_UINT64),
        (4, "datatype", field.TYPE_UINT32),
        (5, "is_historical", field.TYPE_BOOL),
        (6, "is_transient", field.TYPE_BOOL),
        (7, "is_null", field.TYPE_BOOL),
        (9, "properties", "PropertySet"),
        (10, "int_value", field.TYPE_UINT32),
        (11, "long_value", field.TYPE_UINT64),
        (12, "float_value", field.TYPE_FLOAT),
        (13, "double_value", field.TYPE_DOUBLE),
        (14, "boolean_value", field.TYPE_BOOL),
        (15, "string_value", field.TYPE_STRING),
        one_of="_value",
    )
    add(
        "Payload",
        (1, "timestamp", field.TYPE_UINT64),
        (2, "metrics", "Metric"),
        (3, "seq", field.TYPE_UINT64),
        repeated=("metrics",),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))
