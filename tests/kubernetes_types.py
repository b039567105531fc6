"""Manifests of Kubernetes, compared with the types of its Python client."""


def check(value, kind, where):
    """Compares a value with a type of Kubernetes or the Training Operator: names, types, and what must be there."""
    from kubeflow.training import models as operators
    from kubernetes.client import models as kubernetes

    if kind.startswith(("list[", "dict(")):
        inner, items = kind[5:-1].split(", ")[-1], value
        assert isinstance(value, list if kind.startswith("list[") else dict), f"{where} is no {kind}"
        for key, item in enumerate(items) if isinstance(items, list) else items.items():
            check(item, inner, f"{where}.{key}")
    elif model := getattr(operators, kind, getattr(kubernetes, kind, None)):
        names = {model.attribute_map[name]: name for name in model.openapi_types}
        assert value.keys() <= names.keys(), f"{where} has {sorted(value.keys() - names.keys())}"
        # The model itself says what is missing.
        model(**{names[key]: item for key, item in value.items()})
        for key, item in value.items():
            check(item, model.openapi_types[names[key]], f"{where}.{key}")
    elif kind != "object":
        assert type(value) is {"str": str, "int": int, "bool": bool}[kind], f"{where} is no {kind}: {value!r}"
