//! JSON values by name, few of them in many places: kept side by side, where a tree would take
//! several times their size.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use super::json::JsonText;

type Field = (Arc<str>, JsonText);

/// Names with their values, in the order of the names, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// None at all.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&JsonText> {
        let at = self.find(name).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether this name has a value.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Gives the name this value instead of any other.
    pub fn set(&mut self, name: &str, value: JsonText) {
        match self.find(name) {
            Ok(at) => self.0.get_mut(at).into_iter().for_each(|field| field.1 = value.clone()),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (name.into(), value));
            }
        }
    }

    /// Takes the name and its value away.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &JsonText)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Bytes of names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.as_str().len()).sum()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| (**it).cmp(name))
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, JsonText)> for Fields {
    /// Of several values of one name the last counts.
    fn from_iter<I: IntoIterator<Item = (N, JsonText)>>(fields: I) -> Self {
        let mut all: Vec<Field> =
            fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if !all.is_sorted_by(|(a, _), (b, _)| a < b) {
            all.reverse();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            all.dedup_by(|(later, _), (kept, _)| later == kept);
        }
        all.shrink_to_fit();
        Self(all)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        // What the input says of its length is not believed.
        let mut all = Vec::new();
        while let Some(field) = map.next_entry::<Arc<str>, JsonText>()? {
            all.push(field);
        }
        Ok(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::base::codec;

    #[derive(Debug, Clone)]
    enum Op {
        Set(String, u8),
        Remove(String),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            2 => ("[a-c]{0,2}", any::<u8>()).prop_map(|(name, value)| Op::Set(name, value)),
            1 => "[a-c]{0,2}".prop_map(Op::Remove),
        ]
    }

    fn json(value: u8) -> JsonText {
        JsonText::new(&value.into())
    }

    proptest! {
        #[test]
        fn they_are_a_map_with_the_same_bytes(
            first in prop::collection::vec(("[a-c]{0,2}", any::<u8>()), 0..6),
            ops in prop::collection::vec(op(), 0..20),
        ) {
            let first = || first.iter().map(|(name, value)| (name.clone(), json(*value)));
            let (mut fields, mut model) =
                (first().collect::<Fields>(), first().collect::<BTreeMap<_, _>>());
            for op in ops {
                match op {
                    Op::Set(name, value) => {
                        fields.set(&name, json(value));
                        model.insert(name, json(value));
                    }
                    Op::Remove(name) => {
                        fields.remove(&name);
                        model.remove(&name);
                    }
                }
            }
            let listed = fields.iter().map(|(name, value)| (name.to_string(), value.clone()));
            prop_assert_eq!(listed.collect::<BTreeMap<_, _>>(), model.clone());
            prop_assert_eq!((fields.len(), fields.is_empty()), (model.len(), model.is_empty()));
            for name in ["", "a", "bb", "c"] {
                prop_assert_eq!(fields.get(name), model.get(name));
                prop_assert_eq!(fields.contains(name), model.contains_key(name));
            }
            let bytes = codec::encode(&model);
            prop_assert_eq!(&codec::encode(&fields), &bytes);
            prop_assert_eq!(codec::decode::<Fields>(&bytes), Ok(fields));
        }
    }
}
