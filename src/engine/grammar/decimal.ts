// Languages of the texts of numbers in JSON: between bounds, multiples of something, or one number in its spellings.
// Between bounds, texts have so few digits that reading them as doubles keeps their order.

import { charSet, charsOf, complement, union } from './char-set.js';
import type { Language, Languages, Machine } from './language.js';

export interface NumberRange {
  integer: boolean;
  /** null: none. */
  min: Bound | null;
  max: Bound | null;
  /** Each has to divide it. */
  multiples: readonly number[];
}

export interface Bound {
  value: number;
  /** The bound itself is outside. */
  open: boolean;
}

/** Digits that a double always tells apart, and digits of whole numbers, whose order is all that counts. */
const DIGITS = 15;
const WHOLE_DIGITS = 20;
/** Remainders that a machine may have. */
const MOST_REMAINDERS = 2_000;

const DIGIT = charSet([[0x30, 0x39]]);
const NOT_ZERO = charSet([[0x31, 0x39]]);

interface Decimal {
  negative: boolean;
  /** Without leading zeros, but "0". */
  whole: string;
  /** Without trailing zeros. */
  fraction: string;
}

/** Exactly what a double's shortest text says. */
function decimalOf(value: number): Decimal {
  const [mantissa = '0', exponent = '0'] = String(Math.abs(value)).split('e');
  const [before = '0', behind = ''] = mantissa.split('.');
  const shift = Number(exponent);
  const digits = before + behind;
  const point = before.length + shift;
  const whole = point <= 0 ? '0' : digits.padEnd(point, '0').slice(0, point);
  const fraction = point < 0 ? '0'.repeat(-point) + digits : digits.slice(point);
  return {
    negative: value < 0,
    whole: whole.replace(/^0+(?=.)/, ''),
    fraction: fraction.replace(/0+$/, ''),
  };
}

/** null for what can't be written so: bounds too far out, or multiples of too fine a number. */
export function numbersOf(range: NumberRange, languages: Languages): Language | null {
  return new Numbers(languages, range.integer).of(range);
}

class Numbers {
  readonly #digit: Language;
  readonly #digits: Language;
  /** Zero and more, and a sign before any of them. */
  readonly #positive: Language;
  readonly #negative: Language;

  constructor(
    private readonly languages: Languages,
    integer: boolean,
  ) {
    const { set, cat, or, repeat, and, text } = bound(languages);
    this.#digit = set(DIGIT);
    this.#digits = repeat(this.#digit, 0, Infinity);
    const most = integer ? WHOLE_DIGITS : DIGITS;
    const whole = or(text('0'), cat(set(NOT_ZERO), repeat(this.#digit, 0, most - 1)));
    const fraction = cat(text('.'), repeat(this.#digit, 1, DIGITS));
    this.#positive = integer
      ? whole
      : and(cat(whole, repeat(fraction, 0, 1)), repeat(languages.anyChar, 1, DIGITS + 1));
    this.#negative = cat(text('-'), this.#positive);
  }

  of({ integer, min, max, multiples }: NumberRange): Language | null {
    const { or, and } = bound(this.languages);
    let result = or(this.#positive, this.#negative);
    const limit = integer ? WHOLE_DIGITS : DIGITS;
    for (const [side, isMin] of [
      [min, true],
      [max, false],
    ] as const) {
      if (side === null) continue;
      if (decimalOf(side.value).whole.length > limit) {
        // Out of reach on that side: nothing is, or all is beyond it.
        if (side.value < 0 === isMin) continue;
        return null;
      }
      result = and(result, isMin ? this.#above(side) : this.#below(side));
    }
    for (const each of multiples) {
      const machine = multiplesMachine(each);
      if (machine === null) return null;
      result = and(result, this.languages.machine(machine));
    }
    return result;
  }

  #above({ value, open }: Bound): Language {
    const { or, cat, text } = bound(this.languages);
    if (value >= 0) return this.#larger(value, open);
    return or(this.#positive, cat(text('-'), this.#smaller(-value, open)));
  }

  #below({ value, open }: Bound): Language {
    const { or, cat, text } = bound(this.languages);
    if (value > 0 || (value === 0 && !open)) {
      return or(this.#negative, this.#smaller(value, open));
    }
    return cat(text('-'), this.#larger(-value, open));
  }

  /** Of those without a sign. */
  #smaller(value: number, open: boolean): Language {
    const { and, not } = bound(this.languages);
    return and(this.#positive, not(this.#larger(value, !open)));
  }

  #larger(value: number, open: boolean): Language {
    const { set, cat, or, repeat, text, and } = bound(this.languages);
    const { whole, fraction } = decimalOf(value);
    const behind = repeat(cat(text('.'), this.#digits), 0, 1);
    const options = [cat(set(NOT_ZERO), repeat(this.#digit, whole.length, Infinity), behind)];
    for (let i = 0; i < whole.length; i++) {
      const above = larger(whole.charAt(i));
      const rest = repeat(this.#digit, whole.length - i - 1, whole.length - i - 1);
      options.push(cat(text(whole.slice(0, i)), set(above), rest, behind));
    }
    options.push(cat(text(whole), this.#fractionFrom(fraction, open)));
    return and(this.#positive, or(...options));
  }

  /** What may follow equal whole digits. */
  #fractionFrom(fraction: string, open: boolean): Language {
    const { set, cat, or, text, repeat } = bound(this.languages);
    const some = cat(repeat(text('0'), 0, Infinity), set(NOT_ZERO), this.#digits);
    if (fraction === '') {
      return open ? cat(text('.'), some) : repeat(cat(text('.'), this.#digits), 0, 1);
    }
    const options = Array.from(fraction, (digit, i) =>
      cat(text(`.${fraction.slice(0, i)}`), set(larger(digit)), this.#digits),
    );
    options.push(cat(text(`.${fraction}`), open ? some : this.#digits));
    return or(...options);
  }
}

/** Digits above one. */
function larger(digit: string) {
  const code = digit.charCodeAt(0);
  return code === 0x39 ? [] : charSet([[code + 1, 0x39]]);
}

/** null for what would need too many remainders. */
function multiplesMachine(divisor: number): Machine | null {
  const { whole, fraction } = decimalOf(divisor);
  const places = fraction.length;
  const scaled = Number(whole + fraction);
  if (!(scaled >= 1) || scaled > MOST_REMAINDERS || places > DIGITS) return null;
  // remainder * (places + 2) + digits behind the point + 1, or 0 before it
  const width = places + 2;
  const digits = Array.from('0123456789', (digit) => charsOf(digit));
  const others = complement(union(DIGIT, charsOf('-.')));
  return {
    key: `multiples of ${scaled} at ${places}`,
    start: 0,
    classes: [...digits, charsOf('-'), charsOf('.'), others],
    accepts: (state) => {
      const behind = Math.max(0, (state % width) - 1);
      let remainder = Math.floor(state / width);
      for (let i = behind; i < places; i++) remainder = (remainder * 10) % scaled;
      return remainder === 0;
    },
    next: (state, code) => {
      const place = state % width;
      if (code === 0x2d) return state;
      if (code === 0x2e) return place === 0 && places > 0 ? state + 1 : null;
      if (code < 0x30 || code > 0x39 || place === places + 1) return null;
      const remainder = (Math.floor(state / width) * 10 + (code - 0x30)) % scaled;
      return remainder * width + (place === 0 ? 0 : place + 1);
    },
  };
}

/** One number, with zeros and an exponent that don't change it. */
export function spellingsOf(value: number, languages: Languages): Language {
  const { cat, or, text, repeat, set } = bound(languages);
  const { negative, whole, fraction } = decimalOf(value);
  const zeros = repeat(text('0'), 0, Infinity);
  const noFraction = repeat(cat(text('.'), text('0'), zeros), 0, 1);
  const withFraction = (digits: string): Language =>
    digits === '' ? noFraction : cat(text(`.${digits}`), zeros);
  const exponent = (power: number): Language =>
    cat(
      set(charsOf('eE')),
      power < 0 ? text('-') : repeat(text('+'), 0, 1),
      zeros,
      text(String(Math.abs(power))),
    );
  const digits = (whole === '0' ? '' : whole) + fraction;
  const first = digits.search(/[1-9]/);
  if (first < 0) {
    const anyPower = cat(
      set(charsOf('eE')),
      repeat(set(charsOf('+-')), 0, 1),
      repeat(set(DIGIT), 1, Infinity),
    );
    return cat(repeat(text('-'), 0, 1), text('0'), noFraction, repeat(anyPower, 0, 1));
  }
  const power = (whole === '0' ? 0 : whole.length) - 1 - first;
  const significant = digits.slice(first).replace(/0+$/, '');
  const scientific = cat(
    text(significant.charAt(0)),
    withFraction(significant.slice(1)),
    exponent(power),
  );
  const plain = cat(text(whole), withFraction(fraction), repeat(exponent(0), 0, 1));
  return cat(text(negative ? '-' : ''), or(plain, scientific));
}

function bound(languages: Languages) {
  return {
    set: languages.set.bind(languages),
    cat: languages.cat.bind(languages),
    or: languages.or.bind(languages),
    and: languages.and.bind(languages),
    not: languages.not.bind(languages),
    text: languages.text.bind(languages),
    repeat: languages.repeat.bind(languages),
  };
}
