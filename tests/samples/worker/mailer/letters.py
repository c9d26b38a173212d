def send(to):
    return f"a letter to {to}"
