"""The browser sees the city of the integration tests."""

from tests.integration.conftest import first_night, small_city

__all__ = ["first_night", "small_city"]
