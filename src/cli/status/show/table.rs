//! Columns under each other.

use crate::cli::text::printable;

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Empty in all columns: the table has no heading.
    name: &'static str,
    is_right: bool,
}

impl Column {
    pub(super) fn left(name: &'static str) -> Column {
        Column { name, is_right: false }
    }

    pub(super) fn right(name: &'static str) -> Column {
        Column { name, is_right: true }
    }
}

/// One line for the headings, where there are any, and one for each row, behind `indent`. What stands in the cells
/// may come from clients: it is made printable.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<String>>, indent: &str) -> Vec<String> {
    let mut all: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    if columns.iter().any(|column| !column.name.is_empty()) {
        all.push(columns.iter().map(|column| column.name.to_uppercase()).collect());
    }
    all.extend(rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect()));
    let mut widths = vec![0; columns.len()];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells = columns.iter().zip(&widths).zip(row).map(|((column, width), cell)| {
            if column.is_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("{indent}{}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    all.iter().map(line).collect()
}
