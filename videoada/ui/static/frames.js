// Gradio's status trackers count time frame by frame, and one of them goes on for ever once the page is loaded: a tenth
// of a processor, on the machine that generates. They are given four frames a second; nothing else changes. This runs
// before Gradio's modules, which take the function as they find it.
(() => {
  const ask = window.requestAnimationFrame.bind(window), cancel = window.cancelAnimationFrame.bind(window);
  const PAUSE = 250, waiting = new Map();  // by id: what cancels it
  let last = 0;

  window.requestAnimationFrame = callback => {
    if (!/\/statustracker-/.test(new Error().stack)) return ask(callback);
    const id = --last;
    const timer = setTimeout(() => {
      const frame = ask(time => { waiting.delete(id); callback(time); });
      waiting.set(id, () => cancel(frame));
    }, PAUSE);
    waiting.set(id, () => clearTimeout(timer));
    return id;
  };
  window.cancelAnimationFrame = id => {
    if (!waiting.has(id)) return cancel(id);
    waiting.get(id)();
    waiting.delete(id);
  };
})();
