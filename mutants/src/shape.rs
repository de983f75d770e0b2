//! Where in a source file the expressions, arms and functions are that mutants change.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Block, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary};

use crate::Outcome;
use crate::list::{Place, Span};

pub type Bytes = Range<usize>;

pub struct Binary {
    pub left: Bytes,
    pub op: Bytes,
    pub right: Bytes,
    /// `&&` beside a `let`: it cannot become anything else.
    pub in_let_chain: bool,
}

pub struct Unary {
    pub op: Bytes,
    pub operand: Bytes,
}

pub struct MatchArm {
    pub whole: Bytes,
    pub pattern: Bytes,
    pub guard: Option<Bytes>,
}

pub struct Literal {
    pub whole: Bytes,
    /// With the comma behind each.
    pub fields: Vec<Bytes>,
}

#[derive(Default)]
pub struct Shape {
    pub binaries: Vec<Binary>,
    pub unaries: Vec<Unary>,
    pub arms: Vec<MatchArm>,
    pub literals: Vec<Literal>,
    pub matches: Vec<Bytes>,
    /// Of functions, with the braces.
    pub bodies: Vec<Bytes>,
}

fn bytes(node: &impl Spanned) -> Bytes {
    node.span().byte_range()
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(b) if matches!(b.op, BinOp::And(_)) => has_let(&b.left) || has_let(&b.right),
        _ => false,
    }
}

impl Shape {
    pub fn of(text: &str) -> Outcome<Shape> {
        let mut shape = Shape::default();
        shape.visit_file(&syn::parse_file(text)?);
        Ok(shape)
    }
}

impl<'a> Visit<'a> for Shape {
    fn visit_expr_binary(&mut self, e: &'a ExprBinary) {
        self.binaries.push(Binary {
            left: bytes(&e.left),
            op: bytes(&e.op),
            right: bytes(&e.right),
            in_let_chain: matches!(e.op, BinOp::And(_)) && (has_let(&e.left) || has_let(&e.right)),
        });
        visit::visit_expr_binary(self, e);
    }

    fn visit_expr_unary(&mut self, e: &'a ExprUnary) {
        self.unaries.push(Unary { op: bytes(&e.op), operand: bytes(&e.expr) });
        visit::visit_expr_unary(self, e);
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| bytes(guard));
        self.arms.push(MatchArm { whole: bytes(arm), pattern: bytes(&arm.pat), guard });
        visit::visit_arm(self, arm);
    }

    fn visit_expr_match(&mut self, e: &'a ExprMatch) {
        self.matches.push(bytes(e));
        visit::visit_expr_match(self, e);
    }

    fn visit_expr_struct(&mut self, e: &'a ExprStruct) {
        let fields = e.fields.pairs().map(|pair| {
            let field = bytes(pair.value());
            field.start..pair.punct().map_or(field.end, |comma| bytes(comma).end)
        });
        self.literals.push(Literal { whole: bytes(e), fields: fields.collect() });
        visit::visit_expr_struct(self, e);
    }

    fn visit_item_fn(&mut self, f: &'a syn::ItemFn) {
        self.body(&f.block);
        visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'a syn::ImplItemFn) {
        self.body(&f.block);
        visit::visit_impl_item_fn(self, f);
    }

    fn visit_trait_item_fn(&mut self, f: &'a syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, f);
    }
}

impl Shape {
    fn body(&mut self, block: &Block) {
        self.bodies.push(bytes(block));
    }
}

/// Where each line begins: from lines and columns to bytes.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    fn at(&self, place: Place) -> Outcome<usize> {
        let start = *self.starts.get(place.line.wrapping_sub(1)).ok_or("a line beyond the file")?;
        let line = &self.text[start..];
        let column = place.column.saturating_sub(1);
        Ok(start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at))
    }

    pub fn range(&self, span: Span) -> Outcome<Bytes> {
        Ok(self.at(span.start)?..self.at(span.end)?)
    }
}
