//! Whether every run can finish.
//!
//! Stateright's `eventually` is about each single path, and says nothing of paths that come back to
//! where they were, of which there are many here: a relay may renew its lease for ever. What counts
//! is that from wherever a run has come, it can still finish.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use stateright::Model;

/// A state that can be reached, but from which no state can be that is `done`: the first such.
pub(super) fn dead_end<M>(model: &M, done: impl Fn(&M::State) -> bool) -> Option<M::State>
where
    M: Model,
    M::State: Clone + Eq + Hash,
{
    let mut numbers: HashMap<M::State, usize> = HashMap::new();
    let mut before: Vec<Vec<usize>> = Vec::new();
    let mut new: VecDeque<M::State> = model.init_states().into();
    for state in &new {
        numbers.insert(state.clone(), before.len());
        before.push(Vec::new());
    }
    while let Some(state) = new.pop_front() {
        let from = numbers[&state];
        for next in model.next_states(&state) {
            let number = before.len();
            let to = *numbers.entry(next).or_insert_with_key(|next| {
                new.push_back(next.clone());
                number
            });
            if to == number {
                before.push(Vec::new());
            }
            before[to].push(from);
        }
    }
    let mut can_finish = vec![false; before.len()];
    let finished = numbers.iter().filter(|(state, _)| done(state)).map(|(_, number)| *number);
    let mut known: Vec<usize> = finished.collect();
    while let Some(number) = known.pop() {
        if !std::mem::replace(&mut can_finish[number], true) {
            known.extend(&before[number]);
        }
    }
    let dead_ends = numbers.into_iter().filter(|(_, number)| !can_finish[*number]);
    dead_ends.min_by_key(|(_, number)| *number).map(|(state, _)| state)
}
