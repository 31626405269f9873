"""A study's SDTM tables (SAS transport files) as the events its sites would have posted.

Two rules hold throughout. A value goes over as the site recorded it, original result and unit, or not at all;
what does not go over is counted with its reason (``Unmapped``). And an event's time is when the row says that
it was collected: midday UTC of the day, or of the last day a partial date could mean, where no time is given. A
row that names a later day, such as the end of an adverse event, was completed on that day.

Screening ends with the day of the first exposure. What comes after, and what is about safety, goes over for
participants whose actual arm is a dose level of the trial's file; of all others, screening alone does.
"""

from services.cli.sdtm.account import Unmapped
from services.cli.sdtm.mapping import Study, map_study, read_study
from services.cli.sdtm.tables import Table

__all__ = ["Study", "Table", "Unmapped", "map_study", "read_study"]
