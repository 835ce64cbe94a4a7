//! Data sets: named columns whose first axis is the example, copied row by row into a program's inputs.

use crate::program::{Program, RunError, Workspace};

/// Examples as named columns; every column holds the same number of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSet {
    columns: Vec<Column>,
    len: usize,
}

/// One named column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The input it fills, such as `tokens`.
    pub name: String,
    /// Elements of one example.
    pub width: usize,
    /// All rows, one after another.
    pub data: ColumnData,
}

/// Elements of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    /// Token ids or class targets.
    Ids(Vec<i32>),
    /// Numbers.
    Float(Vec<f32>),
}

/// Elements of a column, to write over.
#[derive(Debug, PartialEq)]
pub enum ElementsMut<'a> {
    /// Token ids or class targets.
    Ids(&'a mut [i32]),
    /// Numbers.
    Float(&'a mut [f32]),
}

impl ColumnData {
    fn len(&self) -> usize {
        match self {
            Self::Ids(values) => values.len(),
            Self::Float(values) => values.len(),
        }
    }
}

/// Columns that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{name}` holds {found} elements; expected {expected} ({rows} rows of {width})")]
pub struct DataSetError {
    name: String,
    found: usize,
    expected: usize,
    rows: usize,
    width: usize,
}

impl DataSet {
    /// A data set of `len` examples.
    ///
    /// # Errors
    /// A column whose length is not `len · width`.
    pub fn new(len: usize, columns: Vec<Column>) -> Result<Self, DataSetError> {
        for column in &columns {
            let expected = len.saturating_mul(column.width);
            if column.data.len() != expected {
                return Err(DataSetError {
                    name: column.name.clone(),
                    found: column.data.len(),
                    expected,
                    rows: len,
                    width: column.width,
                });
            }
        }
        Ok(Self { columns, len })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Name, width and elements of each column, to write over.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = (&str, usize, ElementsMut<'_>)> {
        self.columns.iter_mut().map(|column| {
            let elements = match &mut column.data {
                ColumnData::Ids(ids) => ElementsMut::Ids(ids),
                ColumnData::Float(floats) => ElementsMut::Float(floats),
            };
            (column.name.as_str(), column.width, elements)
        })
    }

    /// The examples of the given rows, in that order. Rows must be below [`Self::len`].
    #[must_use]
    pub fn rows(&self, rows: &[usize]) -> Self {
        let pick = |column: &Column| {
            let w = column.width;
            let data = match &column.data {
                ColumnData::Ids(v) => {
                    ColumnData::Ids(rows.iter().flat_map(|&r| &v[r * w..(r + 1) * w]).copied().collect())
                }
                ColumnData::Float(v) => {
                    ColumnData::Float(rows.iter().flat_map(|&r| &v[r * w..(r + 1) * w]).copied().collect())
                }
            };
            Column { name: column.name.clone(), width: w, data }
        };
        Self { columns: self.columns.iter().map(pick).collect(), len: rows.len() }
    }

    /// Copies the given rows into the inputs of the same names. When there are fewer rows than the program's batch,
    /// the rest is filled with the last row: read only as many results as there are rows.
    ///
    /// # Errors
    /// An input the program does not have, one with rows that no column fills, a column of another width than its input's rows,
    /// more rows than the program's batch or none, or a row beyond the data set.
    pub fn fill(&self, program: &Program, workspace: &mut Workspace, rows: &[usize]) -> Result<(), RunError> {
        self.fill_columns(program, workspace, rows)?;
        // An input that nobody fills would keep the rows of an earlier batch. Scalars have no rows: they are settings;
        // the direction of a curvature product comes with the product.
        let has_rows = |name: &&str| {
            *name != crate::curvature::DIRECTION && program.input_shape(name).is_some_and(|shape| !shape.is_empty())
        };
        let is_column = |name: &str| self.columns.iter().any(|column| column.name == name);
        if let Some(name) = program.input_names().filter(has_rows).find(|name| !is_column(name)) {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(RunError::Input {
                name: name.to_owned(),
                expected: "a column of that name".to_owned(),
                found: format!("the columns {}", names.join(", ")),
            });
        }
        Ok(())
    }

    /// As [`DataSet::fill`], where other inputs are filled by somebody else.
    ///
    /// # Errors
    /// As for [`DataSet::fill`], but for inputs that no column fills.
    pub fn fill_columns(&self, program: &Program, workspace: &mut Workspace, rows: &[usize]) -> Result<(), RunError> {
        for column in &self.columns {
            if let Some([_, row @ ..]) = program.input_shape(&column.name)
                && row.iter().product::<usize>() != column.width
            {
                return Err(RunError::Input {
                    name: column.name.clone(),
                    expected: format!("rows of {} elements (shape {row:?})", row.iter().product::<usize>()),
                    found: format!("rows of {}", column.width),
                });
            }
            match &column.data {
                ColumnData::Ids(values) => {
                    copy_rows(&column.name, values, column.width, rows, workspace.ids_mut(program, &column.name)?)?;
                }
                ColumnData::Float(values) => {
                    copy_rows(&column.name, values, column.width, rows, workspace.floats_mut(program, &column.name)?)?;
                }
            }
        }
        Ok(())
    }
}

fn copy_rows<T: Copy>(name: &str, from: &[T], width: usize, rows: &[usize], to: &mut [T]) -> Result<(), RunError> {
    let fits = !rows.is_empty() && width > 0 && rows.len() * width <= to.len() && to.len().is_multiple_of(width);
    if !fits {
        return Err(RunError::Input {
            name: name.to_owned(),
            expected: format!("1 to {} rows of {width}", to.len() / width.max(1)),
            found: format!("{} rows", rows.len()),
        });
    }
    let n_rows = from.len() / width;
    if let Some(beyond) = rows.iter().find(|&&row| row >= n_rows) {
        return Err(RunError::Input {
            name: name.to_owned(),
            expected: format!("rows below {n_rows}"),
            found: format!("row {beyond}"),
        });
    }
    let last = rows[rows.len() - 1];
    let padded = rows.iter().copied().chain(std::iter::repeat(last));
    for (target, row) in to.chunks_exact_mut(width).zip(padded) {
        target.copy_from_slice(&from[row * width..(row + 1) * width]);
    }
    Ok(())
}
