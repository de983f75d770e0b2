//! A source file with all its mutants in it, each behind `crate::mutant::is(n)`.
//!
//! One mutant is chosen at a time, so what stands in a changed expression is the original text; only what is
//! left as it was has further mutants in it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::Outcome;
use crate::list::Mutant;
use crate::shape::{Bytes, Lines, Shape};

/// A part of what was written, and the mutants that are its cause.
pub struct Region {
    pub at: Bytes,
    pub ids: Vec<u32>,
}

pub struct Rewritten {
    pub text: String,
    pub regions: Vec<Region>,
    /// Those that cannot be built this way, with the reason.
    pub refused: Vec<(u32, &'static str)>,
}

/// What is put around a part of the source, or into it where that part is empty.
#[derive(Default)]
struct Edit {
    /// Text before the part; one piece for each mutant, where a compiler error can be told apart.
    before: Vec<(Vec<u32>, String)>,
    after: String,
}

impl Edit {
    fn add(&mut self, id: u32, text: String) {
        self.before.push((vec![id], text));
    }
}

/// Edits in the order in which they are written: outer ones first, and what is inserted before all.
type Edits = BTreeMap<Place, Edit>;
type Place = (usize, Reverse<usize>, u8);

const ARM: u8 = 0;
const EXPRESSION: u8 = 1;

fn is(id: u32) -> String {
    format!("crate::mutant::is({id})")
}

/// The text of one mutant alone: what it replaces, and by what.
pub fn change(source: &str, mutant: &Mutant) -> Outcome<(Bytes, String)> {
    let shape = Shape::of(source)?;
    let at = Lines::of(source).range(mutant.span)?;
    Ok(match mutant.genre.as_str() {
        "StructField" => {
            let field = shape.literals.iter().flat_map(|l| &l.fields).find(|f| f.start == at.start);
            (field.cloned().unwrap_or(at), String::new())
        }
        _ => (at, mutant.replacement.clone()),
    })
}

pub fn file(source: &str, mutants: &[&Mutant]) -> Outcome<Rewritten> {
    let shape = Shape::of(source)?;
    let lines = Lines::of(source);
    let mut edits = Edits::new();
    let mut refused = Vec::new();
    // Arms: deleted, and their guards replaced, in one place.
    let mut arms: BTreeMap<usize, [Option<u32>; 3]> = BTreeMap::new();
    for mutant in mutants {
        let at = lines.range(mutant.span)?;
        let id = mutant.id;
        let missing = || format!("{}: not found in the source", mutant.key());
        match mutant.genre.as_str() {
            "FnValue" => {
                let around = shape.bodies.iter().filter(|b| b.start <= at.start && at.end <= b.end);
                let body = around.min_by_key(|b| b.len()).ok_or_else(missing)?;
                // Where it returns an `impl Trait` the error is behind it.
                blame(&mut edits, body, id);
                let edit = edits.entry((body.start + 1, Reverse(usize::MAX), ARM)).or_default();
                edit.add(id, format!(" if {} {{ return {}; }}", is(id), mutant.replacement));
            }
            "BinaryOperator" => {
                let binary = shape.binaries.iter().find(|b| b.op.start == at.start).ok_or_else(missing)?;
                if binary.in_let_chain {
                    refused.push((id, "in a chain of `let`"));
                    continue;
                }
                let whole = binary.left.start..binary.right.end;
                let text = format!(
                    "({}) {} ({})",
                    &source[binary.left.clone()],
                    mutant.replacement,
                    &source[binary.right.clone()]
                );
                choose(&mut edits, whole, id, &text);
            }
            "UnaryOperator" => {
                let unary = shape.unaries.iter().find(|u| u.op.start == at.start).ok_or_else(missing)?;
                let text = format!("{}({})", mutant.replacement, &source[unary.operand.clone()]);
                choose(&mut edits, unary.op.start..unary.operand.end, id, &text);
            }
            "StructField" => {
                let with = |f: &&Bytes| f.start == at.start;
                let found = shape.literals.iter().find_map(|l| l.fields.iter().find(with).map(|f| (l, f)));
                let (literal, field) = found.ok_or_else(missing)?;
                let text =
                    format!("{}{}", &source[literal.whole.start..field.start], &source[field.end..literal.whole.end]);
                choose(&mut edits, literal.whole.clone(), id, &text);
            }
            "MatchArm" => {
                let arm = shape.arms.iter().position(|a| a.whole.start == at.start || a.pattern.start == at.start);
                arms.entry(arm.ok_or_else(missing)?).or_default()[0] = Some(id);
            }
            "MatchArmGuard" => {
                let arm = shape.arms.iter().position(|a| a.guard.as_ref().is_some_and(|g| g.start == at.start));
                let slot = if mutant.replacement == "true" { 1 } else { 2 };
                arms.entry(arm.ok_or_else(missing)?).or_default()[slot] = Some(id);
            }
            other => return Err(format!("cargo-mutants has a kind that is not known here: {other}").into()),
        }
    }
    for (arm, [deleted, always, never]) in arms {
        let arm = &shape.arms[arm];
        // Two that may each be deleted, but not both: the error is at the whole match.
        let around = shape.matches.iter().filter(|m| m.start <= arm.whole.start && arm.whole.end <= m.end);
        if let (Some(id), Some(whole)) = (deleted, around.min_by_key(|m| m.len())) {
            blame(&mut edits, whole, id);
        }
        let deleted = deleted.map(|id| (id, format!("!{} && ", is(id))));
        let Some(guard) = &arm.guard else {
            if let Some((id, _)) = deleted {
                let edit = edits.entry((arm.pattern.end, Reverse(usize::MAX), ARM)).or_default();
                edit.add(id, format!(" if !{}", is(id)));
            }
            continue;
        };
        let edit = edits.entry((guard.start, Reverse(guard.end), ARM)).or_default();
        if let Some((id, text)) = deleted {
            edit.add(id, text);
        }
        edit.before.push((Vec::new(), "(".to_owned()));
        if let Some(id) = always {
            edit.add(id, format!("{} || ", is(id)));
        }
        if let Some(id) = never {
            edit.add(id, format!("!{} && ", is(id)));
        }
        edit.before.push((Vec::new(), "(".to_owned()));
        edit.after.push_str("))");
    }
    let mut writer = Writer {
        source,
        edits: edits.into_iter().collect(),
        next: 0,
        out: String::with_capacity(source.len() * 3),
        regions: Vec::new(),
    };
    writer.write(0..source.len());
    Ok(Rewritten { text: writer.out, regions: writer.regions, refused })
}

/// Changes nothing: an error within `whole` that nothing smaller is at fault for is this one's.
fn blame(edits: &mut Edits, whole: &Bytes, id: u32) {
    edits.entry((whole.start, Reverse(whole.end), ARM)).or_default().add(id, String::new());
}

/// An expression that is another one where the mutant is chosen.
fn choose(edits: &mut Edits, whole: Bytes, id: u32, text: &str) {
    let edit = edits.entry((whole.start, Reverse(whole.end), EXPRESSION)).or_default();
    let open = if edit.before.is_empty() { "(" } else { "" };
    edit.add(id, format!("{open}if {} {{ {text} }} else ", is(id)));
    edit.after = " })".to_owned();
}

struct Writer<'a> {
    source: &'a str,
    edits: Vec<(Place, Edit)>,
    next: usize,
    out: String,
    regions: Vec<Region>,
}

impl Writer<'_> {
    fn write(&mut self, range: Bytes) {
        let mut at = range.start;
        while let Some(((start, Reverse(end), kind), edit)) = self.edits.get_mut(self.next)
            && *start < range.end
        {
            let (start, end, kind, edit) = (*start, *end, *kind, std::mem::take(edit));
            self.next += 1;
            self.out.push_str(&self.source[at..start]);
            let begun = self.out.len();
            let mut all = Vec::new();
            for (ids, text) in edit.before {
                let from = self.out.len();
                self.out.push_str(&text);
                all.extend_from_slice(&ids);
                self.regions.push(Region { at: from..self.out.len(), ids });
            }
            at = start;
            if end != usize::MAX {
                if kind == EXPRESSION {
                    self.out.push_str("{ ");
                }
                self.write(start..end);
                self.out.push_str(&edit.after);
                at = end;
            }
            self.regions.push(Region { at: begun..self.out.len(), ids: all });
        }
        self.out.push_str(&self.source[at..range.end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{self, Span};

    /// The mutant whose operator, arm or body is `part`, where it first stands in `source`.
    fn mutant(id: u32, source: &str, genre: &str, part: &str, replacement: &str) -> Mutant {
        let at = source.find(part).unwrap();
        let place = |at| list::Place { line: 1, column: source[..at].chars().count() + 1 };
        Mutant {
            id,
            file: "src/a.rs".to_owned(),
            function: "f".to_owned(),
            genre: genre.to_owned(),
            what: part.to_owned(),
            nth: 1,
            replacement: replacement.to_owned(),
            span: Span { start: place(at), end: place(at + part.len()) },
            code: 0,
        }
    }

    fn rewritten(source: &str, mutants: &[Mutant]) -> String {
        let text = file(source, &mutants.iter().collect::<Vec<_>>()).unwrap().text;
        text.replace("crate::mutant::is", "is")
    }

    #[test]
    fn an_operator_and_one_within_its_operand() {
        let source = "fn f() -> bool { a + b < c }";
        let mutants = [
            mutant(1, source, "BinaryOperator", "<", "=="),
            mutant(2, source, "BinaryOperator", "<", ">"),
            mutant(3, source, "BinaryOperator", "+", "-"),
        ];
        assert_eq!(
            rewritten(source, &mutants),
            "fn f() -> bool { (if is(1) { (a + b) == (c) } else if is(2) { (a + b) > (c) } else { \
             (if is(3) { (a) - (b) } else { a + b }) < c }) }"
        );
    }

    #[test]
    fn a_body_and_a_negation() {
        let source = "fn f() -> bool { !a }";
        let mutants = [mutant(1, source, "FnValue", "!a", "true"), mutant(2, source, "UnaryOperator", "!", "")];
        assert_eq!(
            rewritten(source, &mutants),
            "fn f() -> bool { if is(1) { return true; } (if is(2) { (a) } else { !a }) }"
        );
    }

    #[test]
    fn arms_and_guards() {
        let source = "fn f() { match a { 1 => b, n if n > 2 => c, _ => d } }";
        let mutants = [
            mutant(1, source, "MatchArm", "1 => b", ""),
            mutant(2, source, "MatchArm", "n if n > 2 => c", ""),
            mutant(3, source, "MatchArmGuard", "n > 2", "true"),
            mutant(4, source, "MatchArmGuard", "n > 2", "false"),
            mutant(5, source, "BinaryOperator", "> 2", "=="),
        ];
        assert_eq!(
            rewritten(source, &mutants),
            "fn f() { match a { 1 if !is(1) => b, n if !is(2) && (is(3) || !is(4) && (\
             (if is(5) { (n) == (2) } else { n > 2 }))) => c, _ => d } }"
        );
    }

    #[test]
    fn a_field_goes_with_its_comma() {
        let source = "fn f() { S { a: 1, b, ..s } }";
        let mutants = [mutant(1, source, "StructField", "a: 1", "")];
        assert_eq!(rewritten(source, &mutants), "fn f() { (if is(1) { S {  b, ..s } } else { S { a: 1, b, ..s } }) }");
    }

    #[test]
    fn beside_a_let_nothing_is_changed() {
        let source = "fn f() { if let Some(a) = b && c {} }";
        let mutants = [mutant(1, source, "BinaryOperator", "&&", "||")];
        let done = file(source, &mutants.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((done.text.as_str(), done.refused.len()), (source, 1));
    }

    #[test]
    fn a_region_names_its_mutants() {
        let source = "fn f() -> bool { é < c }";
        let mutants = [mutant(1, source, "BinaryOperator", "<", "=="), mutant(2, source, "BinaryOperator", "<", ">")];
        let done = file(source, &mutants.iter().collect::<Vec<_>>()).unwrap();
        let told: Vec<_> = done.regions.iter().map(|r| (&done.text[r.at.clone()], r.ids.clone())).collect();
        assert!(told[0].0.contains("(é) == (c)") && told[0].1 == [1], "{told:?}");
        assert!(told[1].0.contains("(é) > (c)") && told[1].1 == [2], "{told:?}");
        assert!(told[2].0.ends_with("é < c })") && told[2].1 == [1, 2], "{told:?}");
    }
}
