//! Which entry keys of a customer are remembered: at most so many. The oldest whose enrollment is
//! over goes for a new one; one that is active must stay, or its key could be active twice.

use super::{
    draft::Draft,
    input::{Stop, View},
    key::{self, Key},
    record::{Forgotten, KeyChange},
    row::{Enrollment, Row},
};
use crate::base::{CustomerId, Lsn, id::customer_hash, limits::ENTRY_KEYS_MAX};

/// The remembered keys of an event's customer, with what the event has done to them so far.
#[derive(Debug, Default)]
pub(super) struct Remembered(Option<Vec<Lsn>>);

impl Remembered {
    /// What becomes of the keys when the next record enrols the customer with one that began
    /// `before`; none where there is no room for it.
    pub(super) fn change<V: View>(
        &mut self,
        draft: &Draft<'_, V>,
        customer: &CustomerId,
        before: Option<Lsn>,
    ) -> Result<Option<KeyChange>, Stop> {
        let keys = match &mut self.0 {
            Some(keys) => keys,
            none => none.insert(stored(draft, customer)?),
        };
        let others = || keys.iter().copied().filter(|it| Some(*it) != before);
        let mut forgets = None;
        if others().count() >= ENTRY_KEYS_MAX {
            let Some(oldest) = oldest_ended(draft, customer, others())? else { return Ok(None) };
            forgets = Some(oldest);
        }
        let forgotten = forgets.as_ref().map(|(lsn, _)| *lsn);
        keys.retain(|it| Some(*it) != before && Some(*it) != forgotten);
        keys.push(draft.next_lsn());
        let forgets = forgets.map(|(lsn, it)| Forgotten {
            enrollment: draft.back(lsn),
            flow: it.flow,
            key: it.key.clone().unwrap_or_default(),
        });
        Ok(Some(KeyChange { before: before.map(|lsn| draft.back(lsn)), forgets }))
    }
}

fn stored<V: View>(draft: &Draft<'_, V>, customer: &CustomerId) -> Result<Vec<Lsn>, Stop> {
    Ok(match draft.row(&key::entry_keys(customer))? {
        Some(Row::EntryKeys(keys)) => keys.clone(),
        _ => Vec::new(),
    })
}

/// The first of `keys` whose enrollment is over.
fn oldest_ended<'a, V: View>(
    draft: &Draft<'a, V>,
    customer: &CustomerId,
    keys: impl Iterator<Item = Lsn>,
) -> Result<Option<(Lsn, &'a Enrollment)>, Stop> {
    let place = customer_hash(customer);
    let keys: Vec<(Lsn, Key)> = keys.map(|lsn| (lsn, key::enrollment(place, lsn))).collect();
    for ((lsn, key), n) in keys.iter().zip(0_u32..) {
        if n == 1 {
            // Nearly always it is the first; where it is not, the others are read at once.
            let all: Vec<Key> = keys.iter().map(|(_, key)| key.clone()).collect();
            draft.require(&all)?;
        }
        match draft.row(key)? {
            Some(Row::Enrollment(it)) if !it.is_active() => return Ok(Some((*lsn, it))),
            _ => {}
        }
    }
    Ok(None)
}
