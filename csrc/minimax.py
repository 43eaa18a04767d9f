"""Derive the polynomial coefficients of vec_math.h: python csrc/minimax.py (needs mpmath).

Two functions are approximated, each once for float32 and once for float64:

    exp_tail(r)  = (exp(r) - 1 - r) / r^2          on [-ln 2 / 2, ln 2 / 2]
    tanh_tail(s) = (tanh(x) / x - 1) / s, s = x^2  on [0, TANH_SPLIT^2]

The errors are weighted by (r^2 + 0.001) / exp(r) and by s, so that the figure printed is the error of exp
relative to exp and of tanh relative to tanh. Remez' exchange finds the minimax polynomial; its
coefficients are then rounded to the format.
"""

import mpmath as mp

mp.mp.dps = 60
TANH_SPLIT = mp.mpf("0.5625")


def exp_tail(r):
    """(exp(r) - 1 - r) / r^2, by its series where the closed form cancels."""
    if abs(r) < mp.mpf("1e-6"):
        return mp.nsum(lambda k: r**k / mp.factorial(k + 2), [0, 8])
    return (mp.expm1(r) - r) / r**2


def tanh_tail(s):
    """(tanh(sqrt(s)) / sqrt(s) - 1) / s, by its series where the closed form cancels."""
    if s < mp.mpf("1e-8"):
        return -mp.mpf(1) / 3 + s * 2 / 15 - s**2 * 17 / 315 + s**3 * 62 / 2835
    x = mp.sqrt(s)
    return (mp.tanh(x) / x - 1) / s


def remez(function, weight, low, high, count):
    """The coefficients c of the minimax fit of `function` by sum of c[k] x^k, k < count."""
    nodes = [low + (high - low) * (1 - mp.cos(mp.pi * (k + 0.5) / (count + 1))) / 2 for k in range(count + 1)]
    grid = [low + (high - low) * (1 - mp.cos(mp.pi * k / 400)) / 2 for k in range(401)]
    for _ in range(12):
        system = mp.matrix(count + 1, count + 1)
        right = mp.matrix(count + 1, 1)
        for row, x in enumerate(nodes):
            for k in range(count):
                system[row, k] = x**k
            system[row, count] = (-1) ** row / weight(x)
            right[row] = function(x)
        solution = mp.lu_solve(system, right)
        coefficients = [solution[k] for k in range(count)]

        def error(x, c=coefficients):
            return weight(x) * (sum(c[k] * x**k for k in range(count)) - function(x))

        errors = [error(x) for x in grid]
        extrema = []
        for x, e in zip(grid, errors, strict=True):
            if extrema and mp.sign(e) == mp.sign(extrema[-1][1]):
                if abs(e) > abs(extrema[-1][1]):
                    extrema[-1] = (x, e)
            else:
                extrema.append((x, e))
        while len(extrema) > count + 1:
            extrema.pop(0 if abs(extrema[0][1]) < abs(extrema[-1][1]) else -1)
        if len(extrema) < count + 1:
            break
        nodes = [x for x, _ in extrema]
    return coefficients


def round_to(value, bits):
    """`value` rounded to a significand of `bits` bits."""
    if value == 0:
        return mp.mpf(0)
    scale = mp.mpf(2) ** (bits - 1 - int(mp.floor(mp.log(abs(value), 2))))
    return mp.nint(value * scale) / scale


def rounded_fit(function, weight, low, high, count, bits):
    """The minimax coefficients, each rounded to `bits` bits, and the largest weighted error then."""
    exact = remez(function, weight, low, high, count)
    rounded = [round_to(c, bits) for c in exact]
    grid = [low + (high - low) * (k + mp.mpf(0.5)) / 2000 for k in range(2000)]
    worst = max(abs(weight(x) * (sum(c * x**k for k, c in enumerate(rounded)) - function(x))) for x in grid)
    return rounded, worst


def show(name, suffix, coefficients, worst):
    """Print one table as C, lowest degree first."""
    print(f"/* {name}: largest relative error 2^{float(mp.log(worst, 2)):.1f} */")
    for c in coefficients:
        print(f"    {float(c).hex()}{suffix},")


def main():
    """Print every table of vec_math.h."""
    tiny = mp.mpf(2) ** -40  # keeps the weight of tanh_tail from zero
    for bits, suffix, exp_count, tanh_count in ((24, "f", 5, 5), (53, "", 10, 10)):
        print(f"/* {'float' if bits == 24 else 'double'} */")
        show(
            "EXP_TAIL",
            suffix,
            *rounded_fit(
                exp_tail,
                lambda r: (r**2 + mp.mpf("0.001")) / mp.exp(r),
                -mp.ln(2) / 2,
                mp.ln(2) / 2,
                exp_count,
                bits,
            ),
        )
        show(
            "TANH_TAIL",
            suffix,
            *rounded_fit(
                tanh_tail,
                lambda s: s + tiny,
                mp.mpf(0),
                TANH_SPLIT**2,
                tanh_count,
                bits,
            ),
        )
        # The high part has so few bits that its product with any n used here is exact.
        high_bits = 12 if bits == 24 else 40
        high = round_to(mp.ln(2), high_bits)
        low = round_to(mp.ln(2) - high, bits)
        print(f"LN2_HIGH {float(high).hex()}{suffix}  LN2_LOW {float(low).hex()}{suffix}")
        log2e = round_to(1 / mp.ln(2), bits)
        print(f"LOG2_E {float(log2e).hex()}{suffix}")


if __name__ == "__main__":
    main()
