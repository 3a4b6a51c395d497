//! Opening parked lanes.

use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::name::Tables;
use crate::row::Columns;
use crate::statement::Sql;
use crate::store::Context;
use crate::{Session, Type};

/// One message of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter {
    pub(super) number: i64,
    /// It didn't die, but waits behind one that did.
    pub(super) waits: bool,
}

/// Opens the lanes of those dead letters, which tells relays to read their partitions again.
/// Returns all their messages. From here to the commit no relay moves another one there.
pub(super) async fn open<S: Session>(
    context: &Context,
    session: &mut S,
    numbers: &[i64],
) -> Result<Vec<Letter>, Failure> {
    let (dialect, tables) = (context.dialect, &context.tables);
    let mut held = Sql::new(dialect, format!("SELECT id FROM {}", tables.parked));
    lanes_of(&mut held, context, numbers);
    held.push(" ORDER BY id, partition_no, message_key, topic").push(dialect.for_update());
    session.query(&held.finish(&[Type::Uuid])).await?;

    // A statement of its own, so that it sees what was moved there before the lanes were locked.
    let mut all = Sql::new(
        dialect,
        format!(
            "SELECT other.dead_no, {}, {} FROM (SELECT DISTINCT {LANE} FROM {dead} WHERE dead_no",
            dialect.int("other.partition_no"),
            dialect.int("CASE WHEN other.parked_behind = other.id THEN 0 ELSE 1 END"),
            dead = tables.dead,
        ),
    );
    all.one_of(numbers).push(") AS lane");
    all.push(&letters_of_lane(&tables.dead)).push(" ORDER BY other.dead_no");
    let (mut letters, mut partitions) = (Vec::new(), BTreeSet::new());
    for row in session.query(&all.finish(&[Type::Int, Type::Int, Type::Int])).await? {
        let mut row = Columns::new(row);
        let number = row.int()?;
        partitions.insert(row.int()?);
        letters.push(Letter { number, waits: row.int()? == 1 });
    }

    let mut opened = Sql::new(dialect, format!("DELETE FROM {}", tables.parked));
    lanes_of(&mut opened, context, numbers);
    session.execute(&opened.finish(&[])).await?;
    if !partitions.is_empty() {
        let change = format!("UPDATE {} SET generation = generation + 1", tables.partition);
        let mut tell = Sql::new(dialect, change);
        tell.push(" WHERE partition_no").one_of(&partitions.into_iter().collect::<Vec<_>>());
        session.execute(&tell.finish(&[])).await?;
    }
    Ok(letters)
}

/// What tells the lanes of dead letters apart. Many of those that are chosen are of one lane.
pub(super) const LANE: &str = "partition_no, message_key, parked_behind";

/// Joins each `lane` with all its messages, the `other` dead letters.
pub(super) fn letters_of_lane(dead: &str) -> String {
    format!(
        " JOIN {dead} AS other ON other.parked_behind = lane.parked_behind \
         AND other.partition_no = lane.partition_no AND other.message_key = lane.message_key"
    )
}

/// Writes the condition that a parked lane is that of one of these dead letters. It has no alias:
/// MySQL looks for one to delete from in the database in use, which may be none.
fn lanes_of(sql: &mut Sql, context: &Context, numbers: &[i64]) {
    let Tables { dead, parked, .. } = &context.tables;
    sql.push(&format!(
        " WHERE EXISTS (SELECT 1 FROM {dead} AS letter \
           WHERE letter.partition_no = {parked}.partition_no \
             AND letter.message_key = {parked}.message_key \
             AND letter.parked_behind = {parked}.id AND letter.dead_no"
    ));
    sql.one_of(numbers).push(")");
}
