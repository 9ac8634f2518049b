// The theme is Airflow's own; the figures are fetched anew; a link to Airflow is followed by Airflow around us.
(function () {
  const root = document.documentElement;
  function dress() {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
  }
  dress();
  addEventListener("storage", dress);
  addEventListener("click", function (event) {
    const link = event.target.closest("a[data-airflow]");
    if (!link || parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    parent.history.pushState({}, "", link.href);
    parent.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  });
  async function refresh() {
    const main = document.querySelector("main");
    if (!main.dataset.refresh) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (!answer.ok) throw new Error(answer.status);
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
        main.replaceWith(fresh);
      } catch (error) {
        const told = document.getElementById("stale");
        if (told) told.textContent = "not refreshed since";
      }
    }
    setTimeout(refresh, 1000 * document.querySelector("main").dataset.refresh);
  }
  addEventListener("DOMContentLoaded", function () {
    setTimeout(refresh, 1000 * document.querySelector("main").dataset.refresh);
  });
})();
