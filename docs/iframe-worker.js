// Search in a folder. Browsers start no worker from a file, so a hidden frame runs the worker's script instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const answer = "<script>postMessage = (data) => frameElement.answer(data)</script>";
      this.frame.srcdoc = `${answer}<script src="${url}"></script>`;
      this.ready = new Promise((done) => this.frame.addEventListener("load", done));
      document.documentElement.append(this.frame);
    }

    async postMessage(data) {
      await this.ready;
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
