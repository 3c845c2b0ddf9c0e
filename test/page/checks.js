// Run inside of the page by page.test.ts.

const checks = {};

/** Texts and boxes that are wider than the window or their own box. */
checks.overflowing = () => {
  const wide = document.documentElement.clientWidth;
  return (
    [...document.querySelectorAll('body *')]
      .filter((element) => {
        const box = element.getBoundingClientRect();
        return box.right > wide + 1 || element.scrollWidth > element.clientWidth + 1;
      })
      .filter((element) => !(element instanceof SVGElement) && element.clientWidth > 0)
      // What is meant to be wider than its box can be moved in it; what only screen readers see is cut on purpose.
      .filter((element) => element.closest('.code pre, .scroller, .unseen, .open, select') === null)
      .map((element) => element.outerHTML.slice(0, 120))
  );
};

/** Texts with less contrast than WCAG's AA asks for. */
checks.faint = () => {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const light = (color) => {
    const [red = 0, green = 0, blue = 0] = channels(color).map((value) => {
      const part = value / 255;
      return part <= 0.039_28 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) =>
      [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim()),
    )
    .flatMap((element) => {
      const style = getComputedStyle(element);
      const [a, b] = [light(style.color), light(behind(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
      return contrast >= needed ? [] : [`${element.textContent?.trim()}: ${contrast.toFixed(2)}`];
    });
};

/** Controls and sections without a name to be read aloud. */
checks.nameless = () => {
  return [
    ...document.querySelectorAll(
      'input, select, textarea, button, progress, [role=meter], svg[role=img], section',
    ),
  ]
    .filter((element) => {
      const by = element.getAttribute('aria-labelledby');
      const name =
        element.getAttribute('aria-label') ??
        (by === null
          ? (element.labels?.[0] ?? element).textContent
          : document.getElementById(by)?.textContent);
      return (name ?? '').trim() === '';
    })
    .map((element) => element.outerHTML);
};
