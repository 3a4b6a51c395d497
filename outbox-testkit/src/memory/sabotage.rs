//! Protections that can be taken out, to see that a test notices.

/// A protection of the [`Database`](super::Database) that is broken on purpose.
///
/// A simulation that still passes with one of these proves nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sabotage {
    /// Verdicts are written whoever owns the partition.
    NoFence,
    /// A fetch never looks behind its cursors.
    NoLook,
    /// `xmin` is always the next transaction id, as if no transaction were open.
    LyingXmin,
    /// A lease is given to whoever asks, though its owner lives.
    TakeLive,
    /// A delivered row is removed by its place alone, without comparing the message id.
    DeleteBySeq,
    /// A fetch leaves out rows that wait for their next attempt, so that followers overtake them.
    HideWaiting,
    /// Attempts are added instead of set, so that a repeated verdict counts twice.
    AddAttempts,
    /// Rows that are put back in front of the cursors don't change the generation.
    SameGeneration,
    /// A fetch never tells which lanes are parked.
    HideParked,
    /// A row is moved after one that died though that one has been put back.
    ParkUnchecked,
}

impl Sabotage {
    /// Every one of them, for tests that go through all.
    pub const ALL: [Self; 10] = [
        Self::NoFence,
        Self::NoLook,
        Self::LyingXmin,
        Self::TakeLive,
        Self::DeleteBySeq,
        Self::HideWaiting,
        Self::AddAttempts,
        Self::SameGeneration,
        Self::HideParked,
        Self::ParkUnchecked,
    ];
}
