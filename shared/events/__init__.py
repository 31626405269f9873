"""The catalogue of events: one pydantic model per event type, and who may submit each."""

from shared.events.base import Data, Role, SiteData, check_dates
from shared.events.catalogue import CATALOGUE, EventType, read_data, short_type

__all__ = ["CATALOGUE", "Data", "EventType", "Role", "SiteData", "check_dates", "read_data", "short_type"]
