//! Whether a series grows.

/// The slope of a straight line through points, and half of its 95 % confidence interval; both for each unit of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    pub slope: f64,
    pub margin: f64,
}

impl Slope {
    /// Least squares. Neighbouring samples resemble each other, which would make the interval too small: the points should be means over
    /// some minutes. None for fewer than three.
    pub fn of(points: &[(f64, f64)]) -> Option<Slope> {
        let n = points.len() as f64;
        if points.len() < 3 {
            return None;
        }
        let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
        let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
        let left: f64 = points.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
        let error = (left / (n - 2.0) / spread).sqrt();
        Some(Slope { slope, margin: student(points.len() - 2) * error })
    }

    pub fn is_zero(&self) -> bool {
        self.slope.abs() <= self.margin
    }
}

/// Two-sided 95 % quantile of Student's t.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 12] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18];
    TABLE.get(freedom.saturating_sub(1)).copied().unwrap_or(2.15)
}

/// Of sorted values.
pub fn percentile(sorted: &[u32], share: f64) -> u32 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[test]
fn a_line_is_found_and_noise_is_none() {
    let line: Vec<(f64, f64)> = (0..12).map(|x| (f64::from(x), 5.0 + 2.0 * f64::from(x) + f64::from(x % 2))).collect();
    let found = Slope::of(&line).unwrap();
    assert!((found.slope - 2.0).abs() < 0.1 && !found.is_zero(), "{found:?}");
    let noise: Vec<(f64, f64)> = [3.0, 1.0, 4.0, 1.0, 5.0, 2.0, 6.0, 1.0, 3.0, 2.0, 4.0, 1.0]
        .into_iter()
        .enumerate()
        .map(|(x, y)| (x as f64, y))
        .collect();
    assert!(Slope::of(&noise).unwrap().is_zero());
}

#[test]
fn percentiles() {
    let all: Vec<u32> = (0..1000).collect();
    assert_eq!((percentile(&all, 0.5), percentile(&all, 0.99), percentile(&[], 0.99)), (500, 990, 0));
}
