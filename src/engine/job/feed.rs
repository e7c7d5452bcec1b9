//! From input files to inputs: what is new of them, in which order, and from which byte on.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Error,
    lines::{Line, Lines, identify, read_up_to},
    read::{Next, Read, Share, leap, read},
};
use crate::{
    base::{
        ContentHash, InstanceId, PartitionId, Timestamp,
        bytes::length_of,
        limits::{DEFINITIONS_BYTES_MAX, INPUTS_MAX, REJECTED_SHOWN},
    },
    machine::{
        catalog::Catalog,
        input::{Input, InputFile},
        memory::{InputState, Memory},
        reason::InputKind,
        record::Source,
    },
    model::{Definitions, Event, Finding, Known, LineError},
};

/// The files of a job.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Definitions documents.
    pub definitions: Vec<PathBuf>,
    /// Customers, one a line.
    pub customers: Option<PathBuf>,
    /// Events, one a line.
    pub events: Option<PathBuf>,
}

/// A file with its identity.
#[derive(Debug, Clone)]
pub(super) struct InputPath {
    path: PathBuf,
    file: InputFile,
}

impl InputPath {
    fn identify(kind: InputKind, path: &Path) -> Result<Self, Error> {
        let (length, hash) = identify(path).map_err(input_error(path))?;
        Ok(Self::new(kind, path, length, hash))
    }

    fn new(kind: InputKind, path: &Path, length: u64, hash: ContentHash) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { path: path.to_owned(), file: InputFile { kind, name, length, hash } }
    }

    fn is(&self, state: &InputState) -> bool {
        self.file.kind == state.kind && self.file.hash == state.hash
    }
}

/// The files of a job, identified, before the directory is opened.
#[derive(Debug, Clone)]
pub struct Plan {
    definitions: Vec<InputPath>,
    /// Shared by the partitions of a job.
    documents: Arc<[(String, Vec<u8>)]>,
    customers: Option<InputPath>,
    events: Option<InputPath>,
    share: Share,
}

impl Plan {
    /// Reads the definitions and identifies every file.
    pub fn new(files: &Files) -> Result<Self, Error> {
        let mut documents = Vec::new();
        let mut definitions = Vec::new();
        let mut room = DEFINITIONS_BYTES_MAX;
        for path in &files.definitions {
            // One byte too many is enough for the finding that says so.
            let bytes = read_up_to(path, room).map_err(input_error(path))?;
            room = room.saturating_sub(bytes.len());
            let (length, hash) = (length_of(&bytes), ContentHash::of(&bytes));
            definitions.push(InputPath::new(InputKind::Definitions, path, length, hash));
            documents.push((path.display().to_string(), bytes));
        }
        let one = |kind, path: &Option<PathBuf>| {
            path.as_deref().map(|path| InputPath::identify(kind, path)).transpose()
        };
        Ok(Self {
            definitions,
            documents: documents.into(),
            customers: one(InputKind::Customers, &files.customers)?,
            events: one(InputKind::Events, &files.events)?,
            share: Share { partition: PartitionId::default(), count: 1 },
        })
    }

    /// The same for the customers of one of so many partitions.
    #[must_use]
    pub fn share(&self, partition: PartitionId, count: u16) -> Self {
        Self { share: Share { partition, count }, ..self.clone() }
    }

    /// The identity of a directory that begins with these files.
    pub fn instance(&self) -> InstanceId {
        let files = self.definitions.iter().chain(&self.customers).chain(&self.events);
        let hashes: Vec<u8> = files.flat_map(|it| it.file.hash.0).collect();
        InstanceId(ContentHash::of(&hashes).0)
    }

    /// Checks the definitions against what a directory holds.
    pub fn check(&self, known: &Known) -> Result<Definitions, Error> {
        let documents: Vec<(&str, &[u8])> =
            self.documents.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        Definitions::parse(&documents, known).map_err(Error::Findings)
    }

    /// Reads every line without handing any out; the first one that is wrong is the error, where
    /// time is to reach to `until`.
    pub fn check_lines(&self, until: Option<Timestamp>) -> Result<(), Error> {
        let mut latest = Timestamp::EPOCH;
        for input in self.customers.iter().chain(&self.events) {
            let mut lines = Lines::open(&input.path, 0).map_err(input_error(&input.path))?;
            let mut number = 0;
            while let Some(line) = lines.next().map_err(input_error(&input.path))? {
                number += 1;
                let error = match read(input.file.kind, &line.bytes) {
                    Read::Bad(error) => Some(error),
                    Read::Event(Event { time: Some(time), .. }) => {
                        let error = leap(latest, time, until);
                        latest = latest.max(time);
                        error
                    }
                    Read::Event(_) | Read::Customer(_) | Read::Blank | Read::Foreign(_) => None,
                };
                if let Some(error) = error {
                    return Err(Error::Line { path: input.path.clone(), line: number, error });
                }
            }
        }
        Ok(())
    }

    /// What of the files a directory has not dealt with yet.
    pub(super) fn feed(self, memory: &Memory, catalog: &Catalog) -> Result<Feed, Error> {
        let definitions = self.check(&catalog.known(memory))?;
        self.refuse_half_read(memory)?;
        self.refuse_too_many(memory)?;
        let mut next = crate::machine::memory::number(memory.inputs.len());
        let mut feed = Feed {
            pieces: VecDeque::new(),
            warnings: definitions.warnings.clone(),
            bytes_total: 0,
            bytes_read: 0,
            rejected: Vec::new(),
            given: self.customers.iter().chain(&self.events).map(|it| it.file.hash).collect(),
        };
        if self.definitions_are_news(&definitions, memory) {
            let files: Vec<_> = self.definitions.iter().map(|it| it.file.clone()).collect();
            let count = crate::machine::memory::number(files.len());
            let last = files.last().map_or(0, |file| file.length);
            let input = next.saturating_add(count).saturating_sub(1);
            let source = Source::Line { input, offset: last };
            next = next.saturating_add(count);
            let publish = Input::Publish { source, files, definitions };
            feed.pieces.push_back(Piece::Publish(Box::new(publish)));
        }
        let customers = self.customers.map(|it| (latest(memory, InputKind::Customers), it));
        let events = self.events.map(|it| {
            let any = memory.inputs.iter().zip(0_u32..).find(|(state, _)| it.is(state));
            (any, it)
        });
        for (known, input) in customers.into_iter().chain(events) {
            let known = known.filter(|(state, _)| input.is(state));
            let (number, offset) = match known {
                Some((state, number)) => (number, state.offset),
                None => {
                    next = next.saturating_add(1);
                    (next.saturating_sub(1), 0)
                }
            };
            let unread = input.file.length.saturating_sub(offset);
            feed.bytes_total += unread;
            if known.is_none() || unread > 0 {
                let opened = known.is_some();
                let piece = Piece::lines(input, number, offset, (opened, self.share))?;
                feed.pieces.push_back(piece);
            }
        }
        Ok(feed)
    }

    fn definitions_are_news(&self, definitions: &Definitions, memory: &Memory) -> bool {
        let recorded = |it: &InputPath| memory.inputs.iter().any(|state| it.is(state));
        !self.definitions.is_empty()
            && (!self.definitions.iter().all(recorded) || memory.has_news(definitions))
    }

    /// Each file that a directory has read is remembered in memory.
    fn refuse_too_many(&self, memory: &Memory) -> Result<(), Error> {
        let given = self.definitions.iter().chain(&self.customers).chain(&self.events);
        let new = given.filter(|it| !memory.inputs.iter().any(|state| it.is(state))).count();
        if new > 0 && memory.inputs.len() + new > INPUTS_MAX {
            return Err(Error::TooManyInputs { known: memory.inputs.len() });
        }
        Ok(())
    }

    /// A file that was begun comes first.
    fn refuse_half_read(&self, memory: &Memory) -> Result<(), Error> {
        let given: Vec<_> = self.customers.iter().chain(&self.events).collect();
        let half = memory.inputs.iter().filter(|state| state.offset < state.length);
        for state in half {
            if !given.iter().any(|input| input.is(state)) {
                return Err(Error::HalfRead {
                    kind: state.kind.name(),
                    name: state.name.clone(),
                    offset: state.offset,
                    length: state.length,
                });
            }
        }
        Ok(())
    }

    /// The time of the first event that has one: where a new directory's clock begins.
    pub(in crate::engine) fn first_event_time(&self) -> Result<Option<Timestamp>, Error> {
        let Some(input) = &self.events else { return Ok(None) };
        let mut lines = Lines::open(&input.path, 0).map_err(input_error(&input.path))?;
        while let Some(line) = lines.next().map_err(input_error(&input.path))? {
            if let Read::Event(Event { time: Some(time), .. }) =
                read(InputKind::Events, &line.bytes)
            {
                return Ok(Some(time));
            }
        }
        Ok(None)
    }
}

fn latest(memory: &Memory, kind: InputKind) -> Option<(&InputState, u32)> {
    memory.inputs.iter().zip(0_u32..).filter(|(state, _)| state.kind == kind).last()
}

fn input_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    |source| Error::Input { path, source }
}

/// A line that was refused, for people.
#[derive(Debug, Clone)]
pub struct RejectedLine {
    /// In which file.
    pub path: PathBuf,
    /// The line's number, from 1.
    pub line: u64,
    /// The byte after the line.
    pub offset: u64,
    /// What is wrong.
    pub error: LineError,
}

/// The inputs of a job, one after the other.
#[derive(Debug)]
pub(super) struct Feed {
    pieces: VecDeque<Piece>,
    pub(super) warnings: Vec<Finding>,
    pub(super) bytes_total: u64,
    pub(super) bytes_read: u64,
    pub(super) rejected: Vec<RejectedLine>,
    /// The files given, by hash.
    given: Vec<ContentHash>,
}

#[derive(Debug)]
enum Piece {
    Publish(Box<Input>),
    Lines(Box<LinesPiece>),
}

#[derive(Debug)]
struct LinesPiece {
    input: InputPath,
    number: u32,
    opened: bool,
    lines: Lines,
    line_number: u64,
    /// The end of the last line that left a record, and of the last line.
    offset: u64,
    end: u64,
    share: Share,
    peeked: Option<(Read, u64)>,
}

impl Piece {
    fn lines(
        input: InputPath,
        number: u32,
        offset: u64,
        (opened, share): (bool, Share),
    ) -> Result<Self, Error> {
        let mut lines = Lines::open(&input.path, 0).map_err(input_error(&input.path))?;
        // Skipping line by line keeps the line numbers of messages right.
        let mut line_number = 0;
        let mut at = 0;
        while at < offset {
            let skipped = lines.next().map_err(input_error(&input.path))?;
            at = skipped.ok_or_else(|| Error::Changed { path: input.path.clone() })?.offset;
            line_number += 1;
        }
        let piece = LinesPiece {
            input,
            number,
            opened,
            lines,
            line_number,
            offset,
            end: offset,
            share,
            peeked: None,
        };
        Ok(Self::Lines(Box::new(piece)))
    }
}

impl LinesPiece {
    fn peek(&mut self) -> Result<Option<Next>, Error> {
        if !self.opened {
            return Ok(Some(Next::Now));
        }
        if self.peeked.is_none() {
            let line = self.lines.next().map_err(input_error(&self.input.path))?;
            let Some(Line { bytes, offset }) = line else {
                self.ended()?;
                if self.offset == self.end {
                    return Ok(None);
                }
                // The last lines are somebody else's: the log says that they are read, too.
                self.peeked = Some((Read::Blank, self.end));
                return Ok(Some(Next::Now));
            };
            if offset > self.input.file.length {
                return Err(Error::Changed { path: self.input.path.clone() });
            }
            self.line_number += 1;
            let read = self.share.of(read(self.input.file.kind, &bytes));
            self.peeked = Some((read, offset));
        }
        Ok(Some(match &self.peeked {
            Some((Read::Event(Event { time: Some(time), .. }) | Read::Foreign(Some(time)), _)) => {
                Next::At(*time)
            }
            _ => Next::Now,
        }))
    }

    fn ended(&self) -> Result<(), Error> {
        if self.end == self.input.file.length {
            return Ok(());
        }
        Err(Error::Changed { path: self.input.path.clone() })
    }
}

impl Feed {
    /// Makes the next line, which [`peek`](Self::peek) has seen, one that is refused.
    pub(super) fn refuse_next(&mut self, error: LineError) {
        if let Some(Piece::Lines(piece)) = self.pieces.front_mut()
            && let Some((read, _)) = &mut piece.peeked
        {
            // Whose line it is refuses it; for all others its time is none.
            let is_foreign = matches!(read, Read::Foreign(_));
            *read = if is_foreign { Read::Foreign(None) } else { Read::Bad(error) };
        }
    }

    /// Keeps for the end of the run that the line taken last was refused.
    pub(super) fn refuse_last(&mut self, error: LineError) {
        if let Some(Piece::Lines(piece)) = self.pieces.front()
            && self.rejected.len() < REJECTED_SHOWN
        {
            let (path, line, offset) = (piece.input.path.clone(), piece.line_number, piece.offset);
            self.rejected.push(RejectedLine { path, line, offset, error });
        }
    }

    /// Lines of the given files that were refused, in this run or an earlier one.
    pub(super) fn rejected_in_inputs(&self, memory: &Memory) -> u64 {
        let given = memory.inputs.iter().filter(|state| self.given.contains(&state.hash));
        given.map(|state| state.rejected).sum()
    }

    /// When the next input happens.
    pub(super) fn peek(&mut self) -> Result<Next, Error> {
        loop {
            match self.pieces.front_mut() {
                None => return Ok(Next::End),
                Some(Piece::Publish(_)) => return Ok(Next::Now),
                Some(Piece::Lines(piece)) => match piece.peek()? {
                    Some(next) => return Ok(next),
                    None => drop(self.pieces.pop_front()),
                },
            }
        }
    }

    /// The next input, which [`peek`](Self::peek) has seen; none where it is for another partition.
    pub(super) fn take(&mut self) -> Option<Input> {
        let piece = match self.pieces.front_mut()? {
            Piece::Lines(piece) => piece,
            Piece::Publish(_) => {
                let Some(Piece::Publish(publish)) = self.pieces.pop_front() else { return None };
                return Some(*publish);
            }
        };
        if !piece.opened {
            piece.opened = true;
            return Some(Input::Opening(piece.input.file.clone()));
        }
        let (read, offset) = piece.peeked.take()?;
        self.bytes_read += offset.saturating_sub(piece.end);
        piece.end = offset;
        if matches!(read, Read::Foreign(_)) {
            return None;
        }
        piece.offset = offset;
        let source = Source::Line { input: piece.number, offset };
        Some(match read {
            Read::Blank => Input::BlankLine { source },
            Read::Customer(update) => Input::Customer { source, update },
            Read::Event(event) => Input::Event { source, event },
            Read::Bad(error) => Input::BadLine { source, error },
            Read::Foreign(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests;
