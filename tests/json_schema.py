"""Holds a value against a JSON schema: as much of draft 2020-12 as our schemas use, and no word that is not known."""

TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
ANNOTATIONS = {"$schema", "title", "description"}


def problems(value, schema, place="answer"):
    """Return what is wrong, by place."""
    found = []
    for word, wanted in schema.items():
        if word == "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            good = any(TYPES[kind](value) for kind in kinds)
        elif word in ("enum", "const"):
            good = value in wanted if word == "enum" else value == wanted
        elif word == "minimum":
            good = not TYPES["number"](value) or value >= wanted
        elif word == "maximum":
            good = not TYPES["number"](value) or value <= wanted
        elif word == "required":
            good = not isinstance(value, dict) or set(wanted) <= set(value)
        elif word == "anyOf":
            good = any(not problems(value, each, place) for each in wanted)
        elif word == "items":
            good = True
            for k, item in enumerate(value if isinstance(value, list) else []):
                found += problems(item, wanted, f"{place}[{k}]")
        elif word in ("properties", "additionalProperties"):
            good = True
            for name, item in (value if isinstance(value, dict) else {}).items():
                if word == "properties":
                    found += problems(item, wanted.get(name, {}), f"{place}.{name}")
                elif name not in schema.get("properties", {}):
                    found += (
                        [f"{place}.{name}: not known"] if wanted is False else problems(item, wanted, f"{place}.{name}")
                    )
        else:
            assert word in ANNOTATIONS, word
            continue
        if not good:
            found.append(f"{place}: {word}")
    return found
