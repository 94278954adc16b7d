"""asyncpg's types under names that work at run time, where they are not generic."""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg import pool

if TYPE_CHECKING:
    DriverConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Connection: TypeAlias = pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    DriverConnection = asyncpg.Connection
    Connection = pool.PoolConnectionProxy
    Pool = asyncpg.Pool
