// Intervals and paired tests, as in bactrian/evaluate/statistics.py; a test holds one against the other.
// The question is the unit of chance: several answers to one question are a cluster.

const Z = 1.959963984540054;

/** Wilson's 95 % interval of a share; both numbers may be fractional. */
function wilson(right, n) {
  const p = right / n;
  const centre = p + Z * Z / (2 * n), half = Z * Math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)), scale = 1 + Z * Z / n;
  return [Math.min(p, Math.max(0, (centre - half) / scale)), Math.max(p, Math.min(1, (centre + half) / scale))];
}

/** The interval of a mean over questions, each a mean of at most `samples` right-or-wrong answers. */
function clusteredWilson(means, samples) {
  const n = means.length, sum = means.reduce((a, b) => a + b, 0), p = Math.min(1, Math.max(0, sum / n));
  const variance = n > 1 ? means.reduce((a, b) => a + (b - sum / n) ** 2, 0) / (n - 1) / n : 0;
  const effective = variance > 0 ? Math.min(n * samples, Math.max(n, p * (1 - p) / variance)) : n;
  return wilson(p * effective, effective);
}

/** after − before of the same questions: exact McNemar for right or wrong, else z of the mean difference. */
function paired(before, after) {
  const n = before.length, plainly = (each) => each === 0 || each === 1;
  let gained = 0, lost = 0, sum = 0;
  for (let i = 0; i < n; i++) {
    gained += after[i] > before[i];
    lost += after[i] < before[i];
    sum += after[i] - before[i];
  }
  const difference = sum / n;
  if (before.every(plainly) && after.every(plainly)) {
    const up = (gained + 1) / (n + 2), down = (lost + 1) / (n + 2);
    const half = Z * Math.sqrt((up + down - (up - down) ** 2) / (n + 2));
    const interval = [Math.max(-1, up - down - half), Math.min(1, up - down + half)];
    return { n, difference, interval, p: signTest(gained, lost), test: "McNemar, exact", gained, lost };
  }
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (after[i] - before[i] - difference) ** 2;
  const error = n > 1 ? Math.sqrt(squares / (n - 1) / n) : NaN;
  const p = error > 0 ? 2 * upperTail(Math.abs(difference) / error) : Number(difference === 0);
  return { n, difference, interval: [difference - Z * error, difference + Z * error], p, test: "paired z", gained, lost };
}

/** Two-sided binomial test at one half. */
function signTest(gained, lost) {
  const n = gained + lost, fewer = Math.min(gained, lost);
  if (n === 0 || gained === lost) return 1;
  let term = -n * Math.LN2, total = Math.exp(term);
  for (let k = 1; k <= fewer; k++) {
    term += Math.log((n - k + 1) / k);
    total += Math.exp(term);
  }
  return Math.min(1, 2 * total);
}

/** P(Z > z) for z ≥ 0, by the continued fraction of Mills' ratio, or the series where that is slow. */
function upperTail(z) {
  const density = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
  if (z < 3) {
    let term = z, sum = z;
    for (let k = 1; k < 200; k++) {
      term *= z * z / (2 * k + 1);
      sum += term;
    }
    return 0.5 - density * sum;
  }
  let fraction = z;
  for (let k = 60; k > 0; k--) fraction = z + k / fraction;
  return density / fraction;
}

function pValue(p) { return p < 0.0001 ? "p < 0.0001" : `p = ${p.toPrecision(2)}`; }

/** How the scores of one question moved: of bits per byte less is better, and nothing is right or wrong. */
function changeOf(before, after, bits) {
  if (bits) return after === before ? "same" : after < before ? "gained" : "lost";
  return before > 0.5 === after > 0.5 ? (after > 0.5 ? "both" : "neither") : after > before ? "gained" : "lost";
}

/** A difference with its sign, in points; of bits per byte as it is. */
function differenceText(value, bits) {
  if (!bits) return points(value);
  const size = Math.abs(value).toFixed(3);
  return Number(size) === 0 ? size : `${value < 0 ? "−" : "+"}${size}`;
}
