def files(bench) -> None:
    pass
