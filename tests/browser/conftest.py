"""The browser sees the city of the integration tests."""

from tests.integration.conftest import desk_town, first_night, linked_night, small_city

__all__ = ["desk_town", "first_night", "linked_night", "small_city"]
