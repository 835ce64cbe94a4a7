//! Convolution and pooling: sliding windows are a strided view, a convolution is an einsum over them.

use crate::graph::{DType, Graph, Node, Op};

/// How a convolution over `N` spatial axes moves, as in `torch.nn.functional.conv2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution<const N: usize> {
    /// Steps between neighbouring windows, at least 1.
    pub stride: [usize; N],
    /// Zeros on both sides of each spatial axis.
    pub padding: [usize; N],
    /// Steps between neighbouring entries of a window, at least 1.
    pub dilation: [usize; N],
    /// Channels fall into so many groups that do not see one another; divides both numbers of channels.
    pub groups: usize,
}

impl<const N: usize> Default for Convolution<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl Graph {
    /// Cross-correlation of `x [batch, in, height, width]` with `kernel [out, in/groups, kernel height, kernel width]`,
    /// as in `torch.nn.functional.conv2d`: `[batch, out, …]` with extents
    /// (extent + 2·padding − dilation·(kernel − 1) − 1)/stride + 1, rounded down. Add a bias with
    /// [`Graph::per_channel`].
    pub fn conv2d(&mut self, x: Node, kernel: Node, convolution: Convolution<2>) -> Node {
        self.convolve("conv2d", x, kernel, convolution)
    }

    /// The same over one spatial axis: `x [batch, in, length]`, `kernel [out, in/groups, kernel length]`.
    pub fn conv1d(&mut self, x: Node, kernel: Node, convolution: Convolution<1>) -> Node {
        self.convolve("conv1d", x, kernel, convolution)
    }

    /// Maximum over windows of `x [batch, channels, height, width]`, as in `torch.nn.functional.max_pool2d`: padding
    /// counts as −∞ and is at most half the size, and of entries that tie the first gets the derivative.
    pub fn max_pool2d(&mut self, x: Node, size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Node {
        let shape = self.shape(x).to_vec();
        if shape.len() != 4 || (0..2).any(|i| padding[i] > size[i] / 2) {
            return self.shape_error("max_pool2d", &[x], "[batch, channels, height, width], padding ≤ size/2");
        }
        let padded = self.pad_sides(x, padding);
        let padded = if padding == [0, 0] {
            padded
        } else {
            let one = self.constant(1.0);
            let inside = self.broadcast(one, &shape[2..]);
            let inside = self.pad(inside, 0, padding[0], padding[0]);
            let inside = self.pad(inside, 1, padding[1], padding[1]);
            let minus_infinity = self.constant(f64::NEG_INFINITY);
            self.select(inside, padded, minus_infinity)
        };
        let windows = self.windows2d(padded, size, stride, [1, 1]);
        self.max(windows, &[3, 5])
    }

    /// Mean over windows of `x [batch, channels, height, width]`, as in `torch.nn.functional.avg_pool2d`: padding counts
    /// as zeros that take part in the mean.
    pub fn avg_pool2d(&mut self, x: Node, size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Node {
        if self.shape(x).len() != 4 || (0..2).any(|i| padding[i] > size[i] / 2) {
            return self.shape_error("avg_pool2d", &[x], "[batch, channels, height, width], padding ≤ size/2");
        }
        let padded = self.pad_sides(x, padding);
        let windows = self.windows2d(padded, size, stride, [1, 1]);
        self.mean(windows, &[3, 5])
    }

    /// Sliding windows over `axis`, which becomes two axes (position, place in the window): entry (p, i) is entry
    /// p·stride + i·dilation. There are (extent − dilation·(size − 1) − 1)/stride + 1 positions, rounded down. Costs
    /// nothing: the entries stay where they are.
    pub fn windows(&mut self, a: Node, axis: usize, size: usize, stride: usize, dilation: usize) -> Node {
        let mut shape = self.shape(a).to_vec();
        let n = shape.get(axis).and_then(|&extent| n_windows(extent, size, stride, dilation));
        let Some(n) = n else {
            let expected =
                format!("an axis {axis} that holds a window of {size} (stride {stride}, dilation {dilation}, from 1)");
            return self.shape_error("windows", &[a], &expected);
        };
        shape[axis] = n;
        shape.insert(axis + 1, size);
        self.push(Op::Windows { of: a, axis, stride, dilation }, shape, DType::Float)
    }

    /// Adjoint of [`Graph::windows`]: adds axes `axis` (position) and `axis + 1` (place in the window) up into one axis of
    /// `extent` entries; those in no window are 0.
    pub fn overlap(&mut self, a: Node, axis: usize, stride: usize, dilation: usize, extent: usize) -> Node {
        let mut shape = self.shape(a).to_vec();
        let fits = axis.checked_add(1).filter(|&next| next < shape.len()).is_some_and(|next| {
            n_windows(extent, shape[next], stride, dilation).is_some_and(|most| shape[axis] <= most)
        });
        if !fits {
            let expected = format!(
                "axes {axis} and the next that fit an axis of {extent} (stride {stride}, dilation {dilation}, from 1)"
            );
            return self.shape_error("overlap", &[a], &expected);
        }
        shape.remove(axis + 1);
        shape[axis] = extent;
        self.push(Op::Overlap { of: a, axis, stride, dilation }, shape, DType::Float)
    }

    /// `v [channels]` with extents of one behind, so that it broadcasts against `like [batch, channels, …]`.
    pub fn per_channel(&mut self, v: Node, like: Node) -> Node {
        let shape = self.shape(like);
        if shape.len() < 2 || self.shape(v) != &shape[1..2] {
            return self.shape_error("per_channel", &[v, like], "[channels] and [batch, channels, …]");
        }
        let mut wide = vec![1; shape.len() - 1];
        wide[0] = shape[1];
        self.reshape(v, &wide)
    }

    fn convolve<const N: usize>(
        &mut self,
        name: &str,
        x: Node,
        kernel: Node,
        Convolution { stride, padding, dilation, groups }: Convolution<N>,
    ) -> Node {
        let (own, weight) = (self.shape(x).to_vec(), self.shape(kernel).to_vec());
        let fits = own.len() == N + 2
            && weight.len() == N + 2
            && groups > 0
            && weight[0].is_multiple_of(groups)
            && weight[1].checked_mul(groups) == Some(own[1]);
        if !fits {
            let expected = format!(
                "[batch, in, …] and [out, in/{groups}, …] with {N} spatial axes, {groups} groups dividing in and out"
            );
            return self.shape_error(name, &[x, kernel], &expected);
        }
        let mut windows = self.pad_sides(x, padding);
        for i in 0..N {
            // Axis i is cut in place; the windows' own axes so far stand right behind theirs.
            windows = self.windows(windows, 2 + 2 * i, weight[2 + i], stride[i], dilation[i]);
        }
        let cut = self.shape(windows).to_vec();
        if cut.len() != 2 + 2 * N {
            // The mistake is recorded.
            return x;
        }
        // [batch, groups, in/groups, kernel…, positions…], so that the cotangent of the windows has whole rows.
        let places = (0..N).map(|i| 3 + 2 * i);
        let positions = (0..N).map(|i| 2 + 2 * i);
        let order: Vec<usize> = [0, 1].into_iter().chain(places).chain(positions).collect();
        let windows = self.permute(windows, &order);
        let (places, positions) = (&"hijk"[..N], &"wxyz"[..N]);
        if groups == 1 {
            // Without an axis of groups nothing stands between the product and what comes after it.
            let labels = format!("oc{places},bc{places}{positions}->bo{positions}");
            return self.einsum(&labels, kernel, windows);
        }
        let mut shape = self.shape(windows).to_vec();
        shape.splice(1..2, [groups, weight[1]]);
        let windows = self.reshape(windows, &shape);
        let per_group = [&[groups, weight[0] / groups], &weight[1..]].concat();
        let kernel = self.reshape(kernel, &per_group);
        let labels = format!("goc{places},bgc{places}{positions}->bgo{positions}");
        let product = self.einsum(&labels, kernel, windows);
        let out = [&[own[0], weight[0]], &shape[3 + N..]].concat();
        self.reshape(product, &out)
    }

    /// Zeros on both sides of the axes from the third on.
    fn pad_sides<const N: usize>(&mut self, x: Node, padding: [usize; N]) -> Node {
        let mut padded = x;
        for (i, &p) in padding.iter().enumerate() {
            if p > 0 {
                padded = self.pad(padded, 2 + i, p, p);
            }
        }
        padded
    }

    /// `[batch, channels, position, place, position, place]` of windows over the last two of four axes.
    fn windows2d(&mut self, x: Node, size: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Node {
        let rows = self.windows(x, 2, size[0], stride[0], dilation[0]);
        self.windows(rows, 4, size[1], stride[1], dilation[1])
    }
}

/// Positions of a window on an axis; `None` where it does not fit or a step is 0.
fn n_windows(extent: usize, size: usize, stride: usize, dilation: usize) -> Option<usize> {
    let reach = size.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    if stride == 0 || dilation == 0 {
        return None;
    }
    Some(extent.checked_sub(reach)? / stride + 1)
}
